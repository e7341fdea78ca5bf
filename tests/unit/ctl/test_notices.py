"""Whose certificate signs, and that peers believe what is signed: their own roster judges it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ctl.contexts import Contexts, Endpoint, Tls
from ctl.defaults import make_spec
from ctl.notices import Signer, operator_of
from ctl.targets import Settings
from peerd.config import NetworkConfig
from peerd.errors import DeniedError, InvalidInputError, NotFoundError
from peerd.membership import Authority
from peerd.membership.records import RunNotice, run_record
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust
from peerd.pb import runs_pb2
from peerd.types import PeerId

SPEC = make_spec("digits-cnn", run_id="ab" * 16, rounds=7, stale="use")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("net") / "lab", NetworkConfig(name="lab"))


@pytest.fixture
def ops(authority: Authority, tmp_path: Path) -> Path:
    return authority.operator("ops", "admin", tmp_path)


def believed(authority: Authority, signed: bytes, wall: float) -> RunNotice:
    roster = Roster("lab", Trust("lab", authority.authorities), 10, PeerId(bytes(16)))
    record = run_record(signed)
    assert record is not None
    accepted: Any = roster.offer(record, wall)
    assert isinstance(accepted.body, RunNotice), accepted
    return accepted.body


def test_peers_believe_what_an_operator_signs(authority: Authority, ops: Path) -> None:
    now = time.time()
    notice = believed(authority, Signer.load(ops).started("lab", SPEC, 15.0), now)
    assert (notice.spec, notice.stopped, notice.join_seconds, notice.operator) == (SPEC, False, 15.0, "ops")
    assert abs(notice.issued_at - now) < 60.0


def test_the_end_of_a_run_is_later_than_its_beginning(authority: Authority, ops: Path) -> None:
    now = time.time()
    moments = iter((now, now + 0.5))
    loaded = Signer.load(ops)
    signer = Signer(loaded._certificate, loaded._key, lambda: next(moments))
    started = believed(authority, signer.started("lab", SPEC, 15.0), now)
    message = runs_pb2.RunSpec(run_id=SPEC.run_id, task="digits-cnn", rounds=7)
    for field in ("partition", "batch_size", "local_epochs", "learning_rate", "quorum", "alpha",
                  "grace_seconds", "round_timeout_seconds"):  # fmt: skip
        setattr(message, field, getattr(SPEC, field))
    stopped = believed(authority, signer.stopped("lab", message), now)
    assert stopped.stopped and not started.stopped
    assert stopped.issued_at > started.issued_at
    assert stopped.spec.stale == "drop"  # an older daemon says nothing of it


def test_what_cannot_sign(authority: Authority, ops: Path, tmp_path: Path) -> None:
    viewer = authority.operator("eve", "viewer", tmp_path)
    with pytest.raises(DeniedError, match=r"eve\.pem: a viewer cannot announce runs"):
        Signer.load(viewer)
    with pytest.raises(DeniedError, match=r"ca\.pem: not an operator's certificate"):
        Signer.load(tmp_path / "ca.pem")
    with pytest.raises(NotFoundError, match=r"gone\.pem: no such file .*`peerctl network operator`"):
        Signer.load(tmp_path / "gone.pem")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        Signer.load(tmp_path)
    key = ops.with_suffix(".key")
    key.write_bytes(viewer.with_suffix(".key").read_bytes())
    with pytest.raises(DeniedError, match=r"ops\.key: not the key of ops\.pem"):
        Signer.load(ops)
    for junk in (b"", b"\0" * 50, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        key.write_bytes(junk)
        with pytest.raises(InvalidInputError, match=r"ops\.key: not a private key"):
            Signer.load(ops)
    ops.write_bytes(b"junk")
    with pytest.raises(InvalidInputError, match=r"ops\.pem: not a certificate"):
        Signer.load(ops)


def test_which_operator_it_is(home: Path) -> None:
    unix = Endpoint("a", "unix:/a")
    remote = Endpoint("b", "h:1", Tls(Path("/ca"), Path("/tls/ops.pem"), Path("/k"), "b"))
    contexts = Contexts(home / "contexts.toml").adding(unix)
    contexts.save()
    assert operator_of(Settings(), [unix]) is None
    Contexts(contexts.path, "a", {"a": unix}, Path("/file/ops.pem")).save()
    assert operator_of(Settings(), [unix]) == Path("/file/ops.pem")
    assert operator_of(Settings(), [unix, remote]) == Path("/tls/ops.pem")
    assert operator_of(Settings(operator=Path("/given.pem")), [remote]) == Path("/given.pem")
    assert operator_of(Settings(endpoint="unix:/x"), [unix]) is None  # whose network that is, nobody knows
