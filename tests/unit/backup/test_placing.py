"""A restore is all or nothing, whatever lies there, wherever that is, and whenever it is killed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

from peerd.backup import placing
from peerd.errors import ConflictError, InvalidInputError
from peerd.store import StateLock


@pytest.fixture
def whole(packed, restore, tmp_path, files):
    """What a restore makes, by name."""
    restore(packed, tmp_path / "whole")
    return files(tmp_path / "whole")


def absent(_folder):
    pass


def empty(folder):
    folder.mkdir()


def locked_before(folder):
    folder.mkdir()
    (folder / "lock").touch()


def volume(folder):
    """As the root of a file system is, which no other folder can replace."""
    (folder / "lost+found").mkdir(parents=True)


WHERE = pytest.mark.parametrize("make", [absent, empty, locked_before, volume])


def left(folder):
    return [p for place in (folder, folder.parent) for p in place.glob("*.restore-*") if place.exists()]


@WHERE
def test_into_what_is_absent_or_empty(packed, restore, tmp_path, files, whole, make):
    folder = tmp_path / "target"
    make(folder)
    restore(packed, folder)
    assert files(folder) == whole
    assert left(folder) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("runs/x", "not empty ('runs'); restore into a new or empty folder, or move this one away"),
        ("notes.txt", "not empty ('notes.txt')"),
        ("tokens.json", "there is a peer's state here already (tokens.json)"),
        ("releases.json", "there is a peer's state here already (releases.json)"),
        (".hidden", "not empty ('.hidden')"),
    ],
)
def test_nothing_else_may_be_there(packed, restore, tmp_path, files, name, says):
    folder = tmp_path / "target"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(ConflictError) as caught:
        restore(packed, folder)
    assert says in str(caught.value)
    assert files(folder) == {name: b"mine"}
    assert left(folder) == []


def test_a_link_leads_to_where_it_goes(packed, restore, tmp_path, files, whole):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    restore(packed, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert files(tmp_path / "there") == whole


def test_the_folder_that_one_is_in_stays_the_same(packed, restore, tmp_path, whole, files, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    restore(packed, Path())
    assert files(Path()) == whole


def test_a_folder_that_exists_keeps_its_mode(packed, restore, tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    folder.chmod(0o750)
    restore(packed, folder)
    assert folder.stat().st_mode & 0o777 == 0o750
    restore(packed, tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("make", [empty, locked_before, volume])
def test_root_restores_for_the_owner_of_the_folder(packed, restore, tmp_path, make):
    folder = tmp_path / "theirs"
    make(folder)
    os.chown(folder, 4711, 4712)
    restore(packed, folder)
    owners = {p.name: (p.stat().st_uid, p.stat().st_gid) for p in (folder, *folder.rglob("*"))}
    owners.pop("lost+found", None)
    assert set(owners.values()) == {(4711, 4712)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_where_the_parent_cannot_be_written_it_goes_in_place(packed, restore, tmp_path, files, whole):
    parent = tmp_path / "parent"
    folder = parent / "target"
    folder.mkdir(parents=True)
    os.chown(folder, 4711, 4711)
    for place in (parent, *parent.parents):
        place.chmod(place.stat().st_mode | 0o011)
    inode = folder.stat().st_ino
    os.seteuid(4711)
    try:
        restore(packed, folder)
    finally:
        os.seteuid(0)
    assert folder.stat().st_ino == inode
    assert files(folder) == whole


@pytest.mark.parametrize("make", [empty, volume])
@pytest.mark.parametrize("number", range(7))
def test_a_rename_that_fails_undoes_those_before(packed, restore, tmp_path, files, monkeypatch, make, number):
    folder = tmp_path / "target"
    make(folder)
    real, calls = Path.rename, []

    def fails(path, target):
        calls.append(target)
        if len(calls) == number + 1:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    try:
        restore(packed, folder)
    except InvalidInputError as error:
        assert str(error) == f"{folder}: cannot be written: Input/output error"
        assert set(files(folder)) <= {"lock"}
        assert left(folder) == []
    else:
        assert len(calls) <= number


def test_something_that_comes_meanwhile_is_not_replaced(packed, restore, tmp_path, files, monkeypatch):
    folder = tmp_path / "target"
    folder.mkdir()
    real = placing.sync_folder

    def comes(path):
        (folder / "identity.json").write_text("another's")
        real(path)

    monkeypatch.setattr(placing, "sync_folder", comes)
    with pytest.raises(ConflictError, match="something was put there meanwhile"):
        restore(packed, folder)
    assert files(folder) == {"identity.json": b"another's"}
    assert left(folder) == []


def test_what_a_living_restore_prepares_is_not_removed(packed, restore, tmp_path, files, whole):
    living = tmp_path / ".target.restore-abc"
    dead = tmp_path / ".target.restore-def"
    link = tmp_path / ".target.restore-ghi"
    for folder in (living, dead, tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "identity.json").write_text("keys")
    link.symlink_to("elsewhere")
    with StateLock(living):
        restore(packed, tmp_path / "target")
    assert files(tmp_path / "target") == whole
    assert (living.exists(), dead.exists()) == (True, False)
    assert files(tmp_path / "elsewhere") == {"identity.json": b"keys"}


EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate"}


def killed(restore, packed, folder, number):
    """Whether a process that restores was killed (SIGKILL), just before it would touch the disk for the
    `number`th time."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in EVENTS and str(folder.parent) in str(arguments[0]):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        restore(packed, folder)
    finally:
        os._exit(0)


@WHERE
def test_killed_at_any_moment_it_is_all_or_nothing_and_the_next_one_cleans_up(
    packed, restore, tmp_path, files, whole, make
):
    number = 1
    while True:
        folder = tmp_path / f"{number}" / "target"
        folder.parent.mkdir()
        make(folder)
        if not killed(restore, packed, folder, number):
            break
        found = {name: data for name, data in files(folder).items() if not name.startswith(".restore-")}
        if "identity.json" in found:
            assert found == whole
            with pytest.raises(ConflictError, match="there is a peer's state here already"):
                restore(packed, folder)
        else:
            restore(packed, folder)
        assert files(folder) == whole
        assert left(folder) == []
        number += 1
    assert number > 20, "it was killed that often"
    assert files(folder) == whole
