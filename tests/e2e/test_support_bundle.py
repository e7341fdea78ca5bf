"""A support bundle of a real network: nothing secret is in it, whatever file or answer it comes from."""

from __future__ import annotations

import base64
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)
RAW = serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()


def forms(secret: bytes) -> Iterator[bytes]:
    """As it might be written; of long ones also single stretches."""
    yield secret
    yield secret.hex().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")


def long_values(value: Any) -> Iterator[bytes]:
    """What may be a key of 32 bytes in plain data."""
    if isinstance(value, str) and len(value) >= 43:
        yield base64.b64decode(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from long_values(item)


def secrets(folder: Path) -> dict[str, bytes]:
    """Private keys of the network, the operator and each peer, by where they lie."""
    found: dict[str, bytes] = {}
    for path in [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size < 1 << 20]:
        data = path.read_bytes()
        if path.name == "identity.json":
            keys = json.loads(data)
            found[f"{path} identity"] = base64.b64decode(keys["identity"])
            data = base64.b64decode(keys["link"])
        for match in PEM.finditer(data.decode("utf-8", "ignore")):
            if "PRIVATE" not in match[1]:
                continue
            key: Any = serialization.load_pem_private_key(match[0].encode(), None)
            found[f"{path} PEM"] = match[0].splitlines()[1].encode()
            found[f"{path} number"] = key.private_numbers().private_value.to_bytes(32, "big")
        if path.name == "mixkeys.json":
            found |= {f"{path} {n}": key for n, key in enumerate(long_values(json.loads(data)))}
    return found


def test_no_secret_and_no_address_is_in_it(programs: Any, testbed: Any, tmp_path: Path) -> None:
    testbed.up(3, "--hops", "1")
    folder, out = testbed.folder, tmp_path / "bundle.tar.gz"
    done = programs.run("peerctl", "--testbed", folder, "--all", "support-bundle", "--out", out)
    assert done.returncode == 0, done.stderr
    with tarfile.open(out) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    everything = b"\n".join(files.values())
    names = {name.partition("/")[2] for name in files}
    for peer in ("alice", "bob", "carol"):
        assert {
            f"{peer}/{file}" for file in ("status.json", "log.txt", "config.json", "metrics.txt")
        } <= names

    for peer in ("alice", "bob", "carol"):
        told = json.loads(files[f"peerd-support/{peer}/config-in-force.json"])["settings"]
        assert told["mixing.hops"]["value"] == 1
        assert not [key for key, setting in told.items() if "[redacted]" in json.dumps(setting)]

    known = secrets(folder)
    assert len(known) >= 2 + 3 * 2  # CA and operator; identity and link key of each peer
    for where, secret in known.items():
        for form in forms(secret):
            assert form not in everything, where
    assert b"-----BEGIN" not in everything

    record = json.loads((folder / "testbed.json").read_text())
    statuses = testbed.ask("--all", "status")
    addresses = [peer["address"] for peer in record["peers"]]
    addresses += [status["metrics_address"] for status in statuses.values()]
    for address in [*addresses, "127.0.0.1"]:
        assert address.encode() not in everything
    assert b"rtt_samples" not in everything
