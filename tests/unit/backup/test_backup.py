from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path

import pytest

from peerd.backup import Content, pack, secret_file
from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.membership import PeerState
from peerd.store import Checkpoint, StateLock

IN = {
    "identity.json",
    "request.json",
    "bundle.json",
    "run/run.json",
    "run/model-0.f32",
    "runs/0123456789abcdef0123456789abcdef/results.json",
    "runs/0123456789abcdef0123456789abcdef/round-0000004.safetensors",
}


def test_the_same_peer_comes_back_with_its_run_and_without_what_must_not(
    state_dir, packed, restore, tmp_path, files, count_lost
):
    made = restore(packed)
    back = tmp_path / "back"
    assert (made.name, made.made_at, set(made.files)) == ("alice", 1000.0, IN)
    assert set(files(back)) == IN | {"releases.json", "lock"}
    before = files(state_dir)
    assert {name: files(back)[name] for name in IN} == {name: before[name] for name in IN}
    assert PeerState.load(back).peer_id == PeerState.load(state_dir).peer_id
    assert Checkpoint(back / "run").load().round == 4
    with pytest.raises(InvalidInputError, match=r"restored from a backup.*remove this file"):
        count_lost(back)


def test_only_the_owner_may_read_any_of_it(packed, restore, tmp_path):
    restore(packed)
    with secret_file(tmp_path / "alice.backup", force=False) as file:
        assert [p.stat().st_mode & 0o077 for p in tmp_path.glob(".alice.backup.*")] == [0]
        file.write(packed)
    assert (tmp_path / "alice.backup").stat().st_mode & 0o777 == 0o600
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "back").rglob("*")}
    assert {mode for name, mode in modes.items() if "." in name} == {0o600}
    assert {modes["run"], modes["runs"]} == {0o700}


def test_without_models_it_is_small(state_dir):
    out = io.BytesIO()
    made = pack(Content(state_dir, models=False), out, 0.0)
    assert set(made.files) == {name for name in IN if not name.startswith("run")}
    assert len(out.getvalue()) < 50_000


def test_any_tar_can_read_it(packed):
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert {member.name for member in tar} == IN | {"backup.json"}
        assert {(member.mode, member.uid, member.type) for member in tar} == {(0o600, 0, tarfile.REGTYPE)}


def test_a_folder_that_is_no_peers(tmp_path):
    with pytest.raises(NotFoundError, match="peerd init"):
        pack(Content(tmp_path), io.BytesIO(), 0.0)


def test_a_checkpoint_is_of_one_moment_though_the_daemon_writes(
    state_dir, save, restore, tmp_path, monkeypatch
):
    """Two more rounds are saved just before its first model is opened."""
    real, rounds = Path.open, iter([5, 6])

    def slow_open(path, *arguments):
        if path.name == "model-0.f32":
            for number in rounds:
                save(number)
        return real(path, *arguments)

    out = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", slow_open)
        pack(Content(state_dir), out, 0.0)
    restore(out.getvalue())
    assert Checkpoint(tmp_path / "back" / "run").load().round == 6


def test_it_does_not_go_over_a_peer_or_under_a_daemon(state_dir, packed, restore, tmp_path):
    with pytest.raises(ConflictError, match="there is a peer's state here already"):
        restore(packed, state_dir)
    with StateLock(state_dir), pytest.raises(ConflictError, match="another peerd runs"):
        restore(packed, state_dir)
    left = tmp_path / "left"
    left.mkdir()
    (left / "mixkeys.json").write_text("{}")
    with pytest.raises(ConflictError, match=r"mixkeys\.json"):
        restore(packed, left)
    assert [p.name for p in left.iterdir()] == ["mixkeys.json"]


def test_a_backup_overwrites_nothing_unless_told(tmp_path):
    out = tmp_path / "alice.backup"
    out.write_bytes(b"precious")
    says = pytest.raises(ConflictError, match=r"alice\.backup exists; --force overwrites it")
    with says, secret_file(out, force=False):
        pytest.fail("found out too late")
    with secret_file(out, force=True) as file:
        file.write(b"new")
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"new", 0o600)
    out.unlink()
    with pytest.raises(ConflictError), secret_file(out, force=False) as file:
        file.write(b"new")
        out.write_bytes(b"came meanwhile")
    assert out.read_bytes() == b"came meanwhile"
    assert list(tmp_path.iterdir()) == [out], "no draft is left"
    for force in (False, True):
        with pytest.raises(InvalidInputError, match="not a regular file"), secret_file(tmp_path, force):
            pytest.fail("a folder is no file")


def test_where_the_file_system_has_no_links_it_overwrites_nothing_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "alice.backup"
    with secret_file(out, force=False) as file:
        file.write(b"new")
    assert out.read_bytes() == b"new"
    with pytest.raises(ConflictError), secret_file(tmp_path / "b", force=False):
        (tmp_path / "b").write_bytes(b"came meanwhile")
    assert (tmp_path / "b").read_bytes() == b"came meanwhile"
