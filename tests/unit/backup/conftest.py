from __future__ import annotations

import io

import msgspec
import numpy as np
import pytest

from peerd.backup import Content, pack, unpack
from peerd.config import NetworkConfig
from peerd.membership import Authority, Identity
from peerd.store import Checkpoint, Releases
from peerd.types import RunSpec

RUN = "0123456789abcdef" * 2
SPEC = RunSpec(run_id=RUN, task="synthetic", rounds=9)
SECRETS = {
    "mixkeys.json": b"{}",
    "replay/481.log": b"tags",
    "tokens.json": b"[]",
    "releases.json": b'{"%s":3}' % RUN.encode(),
    "lock": b"",
    ".identity.json.tmp": b"torn",
    "notes.txt": b"somebody's",
    "run/leftover": b"",
    f"runs/{RUN}/.round-0000001.safetensors.x": b"",
    "runs/other/results.json": b"{}",
}
"""Never in a backup."""


@pytest.fixture
def save(tmp_path):
    """A round of alice's run, as the daemon does."""

    def write(round_number):
        vector = np.full(1000, round_number, np.float32)
        Checkpoint(tmp_path / "alice" / "run").save(
            SPEC, round_number, vector, shard=0, shards=3, announced=True, finished=False
        )

    return write


@pytest.fixture
def state_dir(tmp_path, save):
    """Of alice, who has taken part in a run."""
    folder = tmp_path / "alice"
    identity = Identity.create(folder, "alice", "192.0.2.1:9101")
    authority = Authority.create(tmp_path / "net", NetworkConfig(name="net"))
    (folder / "request.json").write_bytes(identity.request())
    authority.sign(identity.request(), "request").install(folder)
    save(4)
    (folder / "runs" / RUN).mkdir(parents=True)
    (folder / "runs" / RUN / "results.json").write_bytes(b"{}")
    (folder / "runs" / RUN / "round-0000004.safetensors").write_bytes(b"model" * 10_000)
    for name, data in SECRETS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "roster.bin").symlink_to("/etc/passwd")
    return folder


@pytest.fixture
def packed(state_dir):
    out = io.BytesIO()
    pack(Content(state_dir), out, 1000.0)
    return out.getvalue()


@pytest.fixture
def restore(tmp_path):
    def run(data, folder=None):
        return unpack(io.BytesIO(data), "x.backup", folder or tmp_path / "back")

    return run


@pytest.fixture
def count_lost():
    def read(folder):
        Releases(folder / "releases.json").count(RUN)

    return read


@pytest.fixture
def files():
    """Of a folder, by name."""

    def listed(folder):
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return listed


@pytest.fixture
def encode():
    return msgspec.json.encode
