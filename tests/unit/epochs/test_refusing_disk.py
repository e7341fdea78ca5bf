"""A disk that does not take a tag, and perhaps does not let us be rid of the log that lacks it either: in no
combination does a key come back without its tags, does the relay end, or does the next start fail."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import pytest

from peerd.types import DropReason

T0 = 1_700_000_040.0
"""Epoch 17000000, past its grace."""
E0 = 17_000_000
WRITTEN = [bytes([n]) * 16 for n in range(10)]
LOST = [bytes([n]) * 16 for n in range(10, 15)]
"""Accepted, and refused by the disk."""
LATER = [bytes([n]) * 16 for n in range(15, 20)]
WAYS_OUT = ("ftruncate", "save", "unlink")
BLOCKED = [some for count in range(4) for some in itertools.combinations(WAYS_OUT, count)]
combinations = pytest.mark.parametrize("blocked", BLOCKED, ids=lambda some: "+".join(some) or "nothing")


def read_only(*_arguments, **_options):
    raise OSError(errno.EROFS, "Read-only file system")


class Disk:
    """Refuses what it is told to refuse: for the files in `replay/`, and (save) for mixkeys.json."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def refuse(self, *calls: str) -> None:
        for call in calls:
            getattr(self, call)()

    def heal(self) -> None:
        self._patch.undo()

    def write(self) -> None:
        write = os.write

        def refuse(descriptor, data):
            if str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(".log"):
                read_only()
            return write(descriptor, data)

        self._patch.setattr(os, "write", refuse)

    def ftruncate(self) -> None:
        self._patch.setattr(os, "ftruncate", read_only)

    def unlink(self) -> None:
        unlink = Path.unlink

        def refuse(path, missing_ok=False):
            if path.suffix == ".log" and path.exists():
                read_only()
            unlink(path, missing_ok=missing_ok)

        self._patch.setattr(Path, "unlink", refuse)

    def save(self) -> None:
        self._patch.setattr("peerd.store.mixkeys.write_secret", read_only)

    def open(self) -> None:
        """As on a read-only file system: no file is opened for writing."""
        real = os.open

        def refuse(path, flags, *more, **options):
            if flags & (os.O_RDWR | os.O_WRONLY):
                read_only()
            return real(path, flags, *more, **options)

        self._patch.setattr(os, "open", refuse)


@pytest.fixture
def disk():
    with pytest.MonkeyPatch.context() as patch:
        yield Disk(patch)


def use(rotation, tags, epoch=E0):
    """What the relay does with fresh tags."""
    for tag in tags:
        assert rotation.keyring[epoch].replay.check_and_add(tag) is None
    rotation.append(epoch, tags)


def private(rotation, epoch=E0):
    return rotation.keyring[epoch].key.private


def knows(rotation, tags, epoch=E0):
    replay = rotation.keyring[epoch].replay
    return all(replay.check_and_add(tag) is DropReason.REPLAY for tag in tags)


@pytest.fixture
def lose_tags(life, disk):
    """A rotation whose key lacks tags on a disk that refuses more than that, and this key."""

    def lose(blocked):
        rotation = life.start(T0)
        use(rotation, WRITTEN)
        key = private(rotation)
        disk.refuse("write", *blocked)
        use(rotation, LOST)
        return rotation, key

    return lose


@combinations
def test_the_relay_goes_on(life, lose_tags, blocked):
    rotation, key = lose_tags(blocked)
    assert rotation.keyring.accepted == (E0,)
    assert life.log.levels[0] == "error"
    if blocked != WAYS_OUT:
        assert private(rotation) == key
        assert knows(rotation, WRITTEN + LOST)
    use(rotation, LATER)
    assert knows(rotation, LATER)
    said = len(life.log.said)
    for second in range(1, 5):
        rotation.update(T0 + second)
        use(rotation, [bytes([100 + second]) * 16])
    assert len(life.log.said) == said, "told once"


@pytest.mark.parametrize("heals", [True, False])
@combinations
def test_a_restart_uses_no_key_without_the_tags_of_what_it_forwarded(life, disk, lose_tags, blocked, heals):
    _, key = lose_tags(blocked)
    if heals:
        disk.heal()
    again = life.start(T0 + 1)
    assert again.keyring.accepted == (E0,)
    if blocked == WAYS_OUT:
        # The old file with the old log: this key was given up before any later packet.
        assert knows(again, WRITTEN)
    else:
        assert private(again) != key


@combinations
def test_a_disk_that_heals_while_we_live_is_put_right_by_the_next_update(life, disk, lose_tags, blocked):
    rotation, key = lose_tags(blocked)
    disk.heal()
    use(rotation, LATER)
    rotation.update(T0 + 1)
    assert f"{E0}.log" not in life.logs() or (life.dir / "replay" / f"{E0}.log").stat().st_size == 0
    again = life.start(T0 + 2)
    assert private(again) != key
    assert private(again, E0 + 1) == private(rotation, E0 + 1)
    assert again.descriptor.version > rotation.descriptor.version


@combinations
def test_it_is_tried_again_until_the_log_is_worth_nothing(life, disk, lose_tags, blocked):
    rotation, _ = lose_tags(blocked)
    for second in range(1, 4):
        rotation.update(T0 + second)
    disk.heal()
    rotation.update(T0 + 4)
    path = life.dir / "replay" / f"{E0}.log"
    assert not path.exists() or path.stat().st_size == 0
    use(rotation, WRITTEN, E0 + 1)  # the others' logs are as they were
    assert knows(life.start(T0 + 5), WRITTEN, E0 + 1)


def test_where_nothing_works_the_key_is_replaced_and_the_others_hear_of_it(life, disk, lose_tags):
    rotation, key = lose_tags(WAYS_OUT)
    assert private(rotation) != key
    assert life.log.levels.count("error") == len(life.log.levels) >= 2
    announced = rotation.descriptor
    assert rotation.update(T0 + 1) is True
    assert rotation.descriptor.mix_keys[0] == (E0, rotation.keyring[E0].key.public)
    assert rotation.descriptor.version > announced.version
    assert rotation.update(T0 + 2) is False


def test_where_nothing_works_for_a_key_in_its_grace_it_is_only_forgotten(life, disk):
    rotation = life.start(T0)
    rotation.update(T0 + 60)
    disk.refuse("write", *WAYS_OUT)
    assert rotation.keyring.accepted == (E0 + 1, E0)
    use(rotation, LOST, E0)
    assert rotation.keyring.accepted == (E0 + 1,)
    assert E0 not in rotation.keyring
    assert rotation.update(T0 + 61) is False
    rotation.append(E0, LATER)  # no key, no log, no harm


def test_the_clock_set_back_does_not_bring_back_a_key_that_lacks_tags(life, disk, lose_tags):
    """Its epoch is over, its log still lies there, and the file of the keys is the old one."""
    rotation, key = lose_tags(("ftruncate", "unlink"))
    disk.save()
    rotation.update(T0 + 60)
    rotation.update(T0 + 160)
    disk.heal()
    rotation.update(T0 + 161)
    assert f"{E0}.log" not in life.logs()
    assert private(life.start(T0)) != key


@combinations
def test_a_rotation_over_such_a_key(life, disk, lose_tags, blocked):
    rotation, key = lose_tags(blocked)
    for wall in (T0 + 60, T0 + 80, T0 + 160, T0 + 180):
        rotation.update(wall)
    assert rotation.keyring.accepted == (E0 + 2,)
    disk.heal()
    rotation.update(T0 + 181)
    again = life.start(T0 + 182)
    assert f"{E0}.log" not in life.logs()
    assert key not in {one.key.private for one in again.keyring}


# -- at a start ------------------------------------------------------------------------------------


def spoil(life):
    (life.dir / "replay" / f"{E0}.log").write_bytes(b"not a log")


@pytest.mark.parametrize("more", [(), ("save",), ("write",), ("save", "write")], ids=lambda m: "+".join(m))
def test_a_log_that_cannot_be_removed_does_not_stop_a_start(life, disk, more):
    first = life.start(T0)
    use(first, WRITTEN)
    (life.dir / "replay" / "1.log").write_bytes(b"left over")
    spoil(life)
    disk.refuse("unlink", *more)
    again = life.start(T0 + 1)
    assert private(again) != private(first)
    assert again.keyring.accepted == (E0,)
    use(again, LATER)
    disk.heal()
    third = life.start(T0 + 2)
    assert private(third) not in (private(first), private(again))  # neither has a log
    assert life.logs() == {f"{E0}.log", f"{E0 + 1}.log"}


def test_a_start_on_a_read_only_file_system_uses_fresh_keys(life, disk):
    """And a later one, when it can be written again, the old ones: they were not used meanwhile."""
    first = life.start(T0)
    use(first, WRITTEN)
    disk.refuse("open", "write", *WAYS_OUT)
    again = life.start(T0 + 1)
    assert private(again) != private(first)
    use(again, LATER)
    disk.heal()
    third = life.start(T0 + 2)
    assert private(third) == private(first)
    assert knows(third, WRITTEN)


def test_a_log_that_cannot_be_read_to_its_end_is_none(life, disk, monkeypatch):
    first = life.start(T0)
    use(first, WRITTEN)
    read = os.pread

    def broken(descriptor, count, offset):
        if offset:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", broken)
    again = life.start(T0 + 1)
    assert private(again) != private(first)
    assert life.log.levels == ["warning", "warning"]  # and the next epoch's


def test_half_a_key_file_that_cannot_be_removed_does_not_stop_a_start(life, monkeypatch):
    first = life.start(T0)
    (life.dir / ".mixkeys.json.abc").write_bytes(b"killed")
    monkeypatch.setattr(Path, "unlink", read_only)
    assert private(life.start(T0 + 1)) == private(first)
