from __future__ import annotations

import json
import re
import stat
import tarfile
from pathlib import Path
from typing import Any

import grpc
import pytest

from ctl.contexts import Endpoint, Tls
from ctl.support.archive import ROOT, write
from ctl.support.parts import PARTS
from peerd.config import NetworkConfig
from peerd.errors import ConflictError
from peerd.membership import Authority, Identity
from peerd.pb import config_pb2, node_pb2, peers_pb2


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            assert member.isfile() and (member.mode, member.uid, member.uname) == (0o600, 0, "")
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix(f"{ROOT}/")] = file.read()
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle.tar.gz"


def test_what_is_in_it(peers: Any, peerctl: Any, out: Path) -> None:
    peer = peers.add("alice")
    peer.events = [node_pb2.Event(at=1.0, kind="peer", what="alive", detail="at 192.0.2.9:9101")]
    told = peerctl.json("support-bundle", "--out", str(out))
    files = contents(out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert told["files"] == list(files) and told["bytes"] == out.stat().st_size
    manifest = json.loads(files["manifest.json"])
    assert {entry["file"] for entry in manifest["files"]} == set(files) - {"manifest.json"}
    assert all(entry["bytes"] == len(files[entry["file"]]) for entry in manifest["files"])
    lacks = {entry["file"]: entry["why"] for entry in manifest["missing"]}
    assert lacks == {"metrics.txt": "its metrics endpoint is off"}
    assert {f"alice/{part.file}" for part in PARTS} == {n for n in files if n.startswith("alice/")} | {
        "alice/metrics.txt"
    }
    status = json.loads(files["alice/status.json"])
    assert status["name"] == "alice" and "rtt_samples" not in status["traffic"]
    assert json.loads(files["alice/events.json"])[0]["detail"] == "at host-1:port-1"
    assert any(entry["check"] == "python" for entry in json.loads(files["doctor.json"]))
    assert "peerctl" in json.loads(files["versions.json"])
    assert b"192.0.2.9" not in b"".join(files.values())


def test_addresses_if_they_are_wanted(peers: Any, peerctl: Any, out: Path) -> None:
    peers.add("alice").events = [node_pb2.Event(at=1.0, kind="peer", detail="at 192.0.2.9:9101")]
    assert peerctl("support-bundle", "--out", str(out), "--include-addresses").exit_code == 0
    assert b"192.0.2.9:9101" in contents(out)["alice/events.json"]


def test_one_peer_that_does_not_answer_and_one_part_that_fails(peers: Any, peerctl: Any, out: Path) -> None:
    peer = peers.add("alice")
    peer.refuse, peer.refused = (grpc.StatusCode.NOT_FOUND, "no run yet"), {"Checkpoints"}
    peers.absent("bob")
    result = peerctl("--all", "support-bundle", "--out", str(out))
    assert result.exit_code == 5
    assert "the bundle was made without them" in result.stderr
    missing = json.loads(contents(out)["manifest.json"])["missing"]
    assert {"peer": "alice", "file": "checkpoints.json", "why": "alice: no run yet"} in missing
    assert {entry["file"] for entry in missing if entry["peer"] == "bob"} == {part.file for part in PARTS}


def test_configuration_and_log(peers: Any, peerctl: Any, out: Path, tmp_path: Path) -> None:
    peers.add("alice")
    config, log = tmp_path / "peerd.toml", tmp_path / "peerd.log"
    config.write_text('[link]\nlisten = "192.0.2.1:9101"\n[mixing]\nhops = 2\n')
    log.write_text("".join(f"line {n}\n" for n in range(5000)) + "peerd-join.abc.192.0.2.1:9 \x1b[2J\n")
    words = ["support-bundle", "--out", str(out), "--config", str(config), "--log", str(log)]
    assert peerctl(*words).exit_code == 0
    files = contents(out)
    assert json.loads(files["config.json"])["mixing"]["hops"] == 2
    assert json.loads(files["config.json"])["link"]["listen"] == "host-1:port-1"
    lines = files["log.txt"].decode().splitlines()
    assert len(lines) <= 1000 and "[redacted]" in lines[-1] and "\x1b" not in files["log.txt"].decode()


def state_dir_of(folder: Path, address: str) -> Path:
    """Of a peer whose bundle names that address."""
    state = folder / "state"
    identity = Identity.create(state, "alice", address)
    authority = Authority.create(folder / "net", NetworkConfig(name="net"))
    authority.sign(identity.request(), "request").install(state)
    return state


def test_whoever_names_a_host_it_is_hidden_wherever_it_stands(
    peers: Any, peerctl: Any, out: Path, tmp_path: Path
) -> None:
    """Each name is told by one of them, and stands by itself in the events."""
    planted = {
        "peer": "peer-secret.corp.example",
        "advertised": "advertised-secret.corp.example",
        "page": "page-secret.corp.example",
        "context": "context-secret.corp.example",
        "file": "file-secret.corp.example",
        "other page": "otherpage-secret.corp.example",
        "bundle": "bundle-secret.corp.example",
    }
    peer = peers.add("alice")
    peer.peers = [peers_pb2.Peer(name="bob", address=f"{planted['peer']}:9101")]
    values = {
        "membership.advertise": f"{planted['advertised']}:9511", "metrics.page_hosts": [planted["page"]],
        "training.data_dir": "/home/xaviera/data", "mixing.hops": 3,
    }  # fmt: skip
    peer.config = config_pb2.ConfigStatus(
        file="/home/xaviera/peerd.toml",
        settings=[
            config_pb2.Setting(key=key, value=json.dumps(value), default='""', origin="file", effect="now")
            for key, value in values.items()
        ],
    )
    peer.events = [
        node_pb2.Event(at=1.0, kind="peer", detail=f"{name.upper()} does not answer")
        for name in planted.values()
    ]
    tls = Tls(tmp_path / "ca.pem", tmp_path / "ops.pem", tmp_path / "ops.key", "far")
    peers.contexts = peers.contexts.adding(Endpoint("far", f"{planted['context']}:9102", tls))
    peers.contexts.save()
    config = tmp_path / "peerd.toml"
    config.write_text(
        f'state_dir = "{state_dir_of(tmp_path, planted["bundle"] + ":9101")}"\n[link]\n'
        f'listen = "{planted["file"]}:9101"\n[metrics]\npage_hosts = ["{planted["other page"]}"]\n'
        '[training]\ndata_dir = "/Users/Xaviera Zubin/data"\n'
    )
    result = peerctl("--on", "alice", "support-bundle", "--out", str(out), "--config", str(config))
    assert result.exit_code == 0, result.stderr
    files = contents(out)
    everything = b"".join(files.values()).lower()
    assert b"secret.corp" not in everything
    assert b"xaviera" not in everything
    assert b"zubin" not in everything
    told = json.loads(files["alice/config-in-force.json"])["settings"]
    assert told["mixing.hops"]["value"] == 3
    assert told["training.data_dir"]["value"] == "/home/user-1/data"
    assert re.fullmatch(r"host-\d+:port-\d+", told["membership.advertise"]["value"])
    assert re.fullmatch(r"host-\d+", told["metrics.page_hosts"]["value"][0])
    assert json.loads(files["manifest.json"])["replaced"]["secrets"] == 0
    details = {event["detail"] for event in json.loads(files["alice/events.json"])}
    assert len(details) == len(planted), "each is still another one"


def test_a_log_that_is_not_there_is_noted(peers: Any, peerctl: Any, out: Path) -> None:
    peers.add("alice")
    assert peerctl("support-bundle", "--out", str(out), "--log", "/nowhere/x.log").exit_code == 0
    missing = json.loads(contents(out)["manifest.json"])["missing"]
    assert {"why": "log.txt: /nowhere/x.log: no such log"} in missing


def test_it_never_overwrites_unless_told(peers: Any, peerctl: Any, out: Path) -> None:
    peers.add("alice")
    out.write_text("precious")
    assert "--force overwrites it" in peerctl.error(4, "support-bundle", "--out", str(out))
    assert out.read_text() == "precious"
    assert peerctl("support-bundle", "--out", str(out), "--force").exit_code == 0
    assert contents(out) and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "no such folder" in peerctl.error(3, "support-bundle", "--out", "/nowhere/x.tar.gz")


def test_a_file_that_comes_meanwhile_stays(out: Path) -> None:
    write(out, {"a": b"1"}, force=False)
    before = out.read_bytes()
    with pytest.raises(ConflictError):
        write(out, {"a": b"2"}, force=False)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no draft is left
