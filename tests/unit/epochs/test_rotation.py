"""Mix keys and their tags on a real disk, through starts, rotations, crashes and full disks."""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.epochs import Rotation
from peerd.membership import Identity, decode_descriptor
from peerd.sphinx import Epochs
from peerd.types import DropReason

T0 = 1_700_000_040.0
"""Epoch 17000000, past its grace."""
E0 = 17_000_000
TAGS = [bytes([n]) * 16 for n in range(50)]


def publics(rotation):
    return {key.epoch: key.key.public for key in rotation.keyring}


def privates(rotation):
    return {key.epoch: key.key.private for key in rotation.keyring}


def use(rotation, epoch, tags):
    """What the relay does with fresh tags."""
    for tag in tags:
        assert rotation.keyring[epoch].replay.check_and_add(tag) is None
    rotation.append(epoch, tags)


def knows(rotation, epoch, tags):
    replay = rotation.keyring[epoch].replay
    return all(replay.check_and_add(tag) is DropReason.REPLAY for tag in tags)


def is_written(life, private):
    return private in life.on_disk() or base64.b64encode(private)[:40] in life.on_disk()


# -- a normal life ---------------------------------------------------------------------------------


def test_it_knows_when_its_epoch_ends_also_when_that_is_past(life):
    rotation = life.start(T0)
    end = rotation.epoch_end
    assert T0 < end == rotation.epoch_ends(T0)
    assert rotation.epoch_end == end < rotation.epoch_ends(end + 1.0)  # nobody called `update`
    rotation.update(end + 1.0)
    assert rotation.epoch_end == rotation.epoch_ends(end + 1.0)


def test_a_fresh_start_makes_this_epochs_key_and_the_next(life):
    rotation = life.start(T0)
    assert rotation.epoch == E0
    assert set(publics(rotation)) == {E0, E0 + 1}
    assert rotation.keyring.accepted == (E0,)
    assert rotation.descriptor.mix_keys == tuple(sorted(publics(rotation).items()))
    assert decode_descriptor(rotation.descriptor.signed) == rotation.descriptor
    assert rotation.descriptor.version >= int(T0)
    assert rotation.descriptor.peer_id == life.identity.peer_id
    assert life.logs() == {f"{E0}.log", f"{E0 + 1}.log"}
    assert life.log.said == []


def test_files_are_the_owners_alone(life):
    rotation = life.start(T0)
    rotation.update(T0 + 100)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [life.dir, *life.dir.rglob("*")]}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert (life.dir / "mixkeys.json") in modes


def test_a_restart_brings_back_keys_tags_and_descriptor_version(life):
    first = life.start(T0)
    use(first, E0, TAGS)
    use(first, E0 + 1, TAGS[:3])
    again = life.start(T0 + 1)
    assert publics(again) == publics(first)
    assert knows(again, E0, TAGS)
    assert knows(again, E0 + 1, TAGS[:3])
    assert again.keyring[E0 + 1].replay.check_and_add(TAGS[4]) is None  # each key has its own tags
    assert again.descriptor.mix_keys == first.descriptor.mix_keys
    assert again.descriptor.version > first.descriptor.version
    assert life.log.said == []


def test_a_rotation(life):
    rotation = life.start(T0)
    before = publics(rotation)
    version = rotation.descriptor.version
    assert rotation.next_change(T0) == T0 + 40  # 20 s before the epoch's end
    assert rotation.update(T0 + 40) is False
    assert rotation.keyring.accepted == (E0, E0 + 1)
    assert rotation.descriptor.version == version
    assert rotation.next_change(T0 + 40) == T0 + 60
    assert rotation.update(T0 + 60) is True
    assert rotation.keyring.accepted == (E0 + 1, E0)
    assert rotation.epoch == E0 + 1
    assert set(publics(rotation)) == {E0, E0 + 1, E0 + 2}
    assert [epoch for epoch, _ in rotation.descriptor.mix_keys] == [E0 + 1, E0 + 2]
    assert rotation.descriptor.version > version
    assert publics(rotation)[E0 + 1] == before[E0 + 1]
    assert rotation.update(T0 + 80) is False
    assert rotation.keyring.accepted == (E0 + 1,)
    assert set(publics(rotation)) == {E0 + 1, E0 + 2}
    assert rotation.epoch_ends(T0 + 80) == T0 + 160


def test_after_its_grace_a_key_is_nowhere_and_neither_are_its_tags(life):
    rotation = life.start(T0)
    old = privates(rotation)[E0]
    use(rotation, E0, TAGS)
    assert is_written(life, old)
    rotation.update(T0 + 60)
    assert is_written(life, old)  # still accepted
    use(rotation, E0, [b"last" * 4])
    rotation.update(T0 + 80)
    assert not is_written(life, old)
    assert TAGS[7] not in life.on_disk()
    assert life.logs() == {f"{E0 + 1}.log", f"{E0 + 2}.log"}
    rotation.append(E0, [b"late" * 4])  # no key, no log, no harm
    assert E0 not in rotation.keyring


def test_the_same_moment_again_changes_nothing(life):
    rotation = life.start(T0)
    disk, descriptor = life.on_disk(), rotation.descriptor
    for _ in range(3):
        assert rotation.update(T0) is False
    assert (life.on_disk(), rotation.descriptor) == (disk, descriptor)


@pytest.mark.parametrize("to", [T0 + 100 * 1000, T0 - 100 * 1000])
def test_a_clock_that_jumps_by_many_epochs(life, to):
    """An operator set it: keys of the new epochs, the old ones destroyed, and others hear of it."""
    rotation = life.start(T0)
    old = set(privates(rotation).values())
    version = rotation.descriptor.version
    assert rotation.update(to) is True
    epoch = int(to // 100)
    assert set(publics(rotation)) == {epoch, epoch + 1}
    assert rotation.keyring.accepted == (epoch,)
    assert rotation.descriptor.version > version
    assert not any(is_written(life, private) for private in old)
    assert life.logs() == {f"{epoch}.log", f"{epoch + 1}.log"}
    assert rotation.update(T0) is True  # and back
    assert rotation.descriptor.version > version + 1
    assert not old & set(privates(rotation).values())


def test_the_later_of_two_instances_keeps_the_higher_version(life, tmp_path):
    """Only what is newer is passed on: however often both rotate, the earlier can hear of the later."""
    earlier = life.start(T0)
    copied = tmp_path / "copied"
    shutil.copytree(life.dir, copied)
    later = Rotation(copied, life.identity, Epochs(100.0, 20.0), 1000, life.log)
    later.start(T0 + 59)
    assert earlier.descriptor.version < later.descriptor.version
    for wall in (T0 + 60, T0 + 160, T0 + 260):
        assert earlier.update(wall)
        assert earlier.descriptor.version < later.descriptor.version  # also if the other comes later
        assert later.update(wall)
    later.close()


def test_a_clock_that_steps_back_over_a_boundary_keeps_its_keys(life):
    rotation = life.start(T0)
    rotation.update(T0 + 61)
    kept = publics(rotation)
    rotation.update(T0 + 59)
    assert publics(rotation)[E0 + 1] == kept[E0 + 1]
    assert publics(rotation)[E0] == kept[E0]
    assert rotation.keyring.accepted == (E0, E0 + 1)


def test_a_long_sleep_is_a_jump(life):
    life.start(T0)
    again = life.start(T0 + 5000)
    assert set(publics(again)) == {E0 + 50, E0 + 51}
    assert life.logs() == {f"{E0 + 50}.log", f"{E0 + 51}.log"}


@given(st.lists(st.tuples(st.floats(-400.0, 400.0), st.booleans(), st.integers(0, 3)), max_size=12))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
    deadline=None,
)
def test_whatever_the_clock_does_no_key_is_without_its_tags(tmp_path_factory, steps):
    """Steps of the clock, kills, and packets: a key that is used again knows all that it has unwrapped;
    versions only grow; what is accepted is what the clock says."""
    folder = tmp_path_factory.mktemp("peer") / "alice"
    identity = Identity.create(folder, "alice", "192.0.2.1:9101")
    epochs = Epochs(100.0, 20.0)
    wall, number, version = T0, 0, 0
    unwrapped: dict[bytes, list[bytes]] = {}
    rotation = Rotation(folder, identity, epochs, 1000, QuietLog())
    rotation.start(wall)
    for step, killed, packets in steps:
        wall += step
        if killed:
            rotation.close()
            rotation = Rotation(folder, identity, epochs, 1000, QuietLog())
            rotation.start(wall)
        elif not rotation.update(wall):
            assert rotation.descriptor.version == version or version == 0
        assert rotation.descriptor.version >= version
        version = rotation.descriptor.version
        assert rotation.keyring.accepted[0] == epochs.at(wall) == rotation.epoch
        assert set(rotation.keyring.accepted) <= set(epochs.accepted(wall))
        assert [epoch for epoch, _ in rotation.descriptor.mix_keys] == [rotation.epoch, rotation.epoch + 1]
        for key in rotation.keyring:
            known = unwrapped.get(key.key.public, [])
            assert all(key.replay.check_and_add(tag) is DropReason.REPLAY for tag in known)
        for _ in range(packets):
            for epoch in rotation.keyring.accepted:
                number += 1
                tag = number.to_bytes(16, "big")
                use(rotation, epoch, [tag])
                unwrapped.setdefault(rotation.keyring[epoch].key.public, []).append(tag)
    on_disk = {path.name for path in (folder / "replay").iterdir()}
    assert on_disk == {f"{key.epoch}.log" for key in rotation.keyring}
    rotation.close()


class QuietLog:
    def warning(self, *_arguments, **_fields):
        raise AssertionError("nothing is wrong here")

    error = warning


# -- crashes ---------------------------------------------------------------------------------------

CRASH = """
import os, signal, sys
from pathlib import Path
from peerd.epochs import Rotation
from peerd.membership import Identity
from peerd.sphinx import Epochs
folder, where = Path(sys.argv[1]), sys.argv[2]
class Log:
    def warning(self, *a, **k): print(a, k)
    error = warning
def die(*_a, **_k):
    os.kill(os.getpid(), signal.SIGKILL)
rotation = Rotation(folder, Identity.load(folder), Epochs(100.0, 20.0), 1000, Log())
rotation.start(1_700_000_040.0)
epoch = 17_000_000
tags = [bytes([n]) * 16 for n in range(50)]
rotation.append(epoch, tags)
rotation.append(epoch + 1, tags[:5])
print(*(key.key.private.hex() for key in rotation.keyring), flush=True)
if where == "append":
    die()
if where == "before save":
    rotation._save = die
if where == "in save":
    Path.replace = die
if where == "after save":
    rotation._file.save = lambda *a, save=rotation._file.save: (save(*a), die())
rotation.update(1_700_000_100.0)   # makes a key
rotation.update(1_700_000_120.0)   # destroys one
die()
"""


@pytest.mark.parametrize("where", ["append", "before save", "in save", "after save", "the end"])
def test_kill_9_at_every_stage(life, where):
    """Whenever it dies: the keys that are used again know their tags, and nothing is left over."""
    ended = subprocess.run(
        [sys.executable, "-c", CRASH, str(life.dir), where], check=False, capture_output=True, text=True
    )
    assert ended.returncode == -9, ended.stderr
    old, present = (bytes.fromhex(text) for text in ended.stdout.split())
    again = life.start(T0 + 81)
    assert set(publics(again)) == {E0 + 1, E0 + 2}
    assert privates(again)[E0 + 1] == present  # nothing happened to this one
    assert knows(again, E0 + 1, TAGS[:5])
    assert not is_written(life, old)
    assert life.logs() == {f"{E0 + 1}.log", f"{E0 + 2}.log"}
    assert [path.name for path in life.dir.glob(".*")] == []
    assert life.log.said == []


def test_kill_9_between_append_and_rotation_keeps_the_present_key(life):
    ended = subprocess.run([sys.executable, "-c", CRASH, str(life.dir), "append"], check=False, text=True,
                           capture_output=True)  # fmt: skip
    old, _ = (bytes.fromhex(text) for text in ended.stdout.split())
    again = life.start(T0 + 5)
    assert privates(again)[E0] == old
    assert knows(again, E0, TAGS)


# -- what cannot be trusted ------------------------------------------------------------------------


def spoil_missing(path):
    path.unlink()


def spoil_empty(path):
    path.write_bytes(b"")


def spoil_head(path):
    raw = path.read_bytes()
    path.write_bytes(raw[:10] + bytes([raw[10] ^ 1]) + raw[11:])


def spoil_other_keys(path):
    other = path.with_name(f"{E0 + 1}.log")
    path.write_bytes(other.read_bytes())


def spoil_garbage(path):
    path.write_bytes(os.urandom(500))


@pytest.mark.parametrize(
    "spoil",
    [spoil_missing, spoil_empty, spoil_head, spoil_other_keys, spoil_garbage],
    ids=lambda f: f.__name__,
)
def test_a_key_without_its_log_is_thrown_away(life, spoil):
    first = life.start(T0)
    use(first, E0, TAGS)
    use(first, E0 + 1, TAGS[:2])
    old = privates(first)
    spoil(life.dir / "replay" / f"{E0}.log")
    again = life.start(T0)
    assert privates(again)[E0] != old[E0]
    assert privates(again)[E0 + 1] == old[E0 + 1]
    assert knows(again, E0 + 1, TAGS[:2])
    assert again.descriptor.version > first.descriptor.version  # or the others would go on with the old
    assert again.descriptor.mix_keys != first.descriptor.mix_keys
    assert not is_written(life, old[E0])
    assert life.log.levels == ["warning"]
    use(again, E0, TAGS)
    assert knows(life.start(T0), E0, TAGS)
    assert life.log.said == []


def test_a_torn_tag_at_the_end_is_not_worth_the_key(life):
    first = life.start(T0)
    use(first, E0, TAGS)
    path = life.dir / "replay" / f"{E0}.log"
    path.write_bytes(path.read_bytes() + b"half")
    again = life.start(T0)
    assert publics(again) == publics(first)
    assert knows(again, E0, TAGS)
    use(again, E0, [b"next" * 4])
    assert knows(life.start(T0), E0, [*TAGS, b"next" * 4])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff" * 100, b"[" * 100_000, b'{"version": 1e999}'])
def test_a_corrupt_key_file_means_fresh_keys_and_a_warning(life, content):
    first = life.start(T0)
    use(first, E0, TAGS)
    (life.dir / "mixkeys.json").write_bytes(content)
    again = life.start(T0 + 2)
    assert not set(publics(first).values()) & set(publics(again).values())
    assert life.log.levels == ["warning"]
    assert again.descriptor.version > first.descriptor.version
    assert again.keyring[E0].replay.check_and_add(TAGS[0]) is None
    assert publics(life.start(T0 + 3)) == publics(again)
    assert life.log.said == []


def test_another_life_of_the_kernel_means_fresh_keys(life, monkeypatch):
    first = life.start(T0)
    use(first, E0, TAGS)
    monkeypatch.setattr("peerd.epochs.rotation.boot_id", lambda: "another")
    again = life.start(T0)
    assert not set(publics(first).values()) & set(publics(again).values())
    assert again.descriptor.version > first.descriptor.version
    assert not any(is_written(life, private) for private in privates(first).values())
    assert TAGS[7] not in life.on_disk()
    assert life.log.said == []


def test_a_deleted_key_file_means_fresh_keys(life):
    first = life.start(T0)
    (life.dir / "mixkeys.json").unlink()
    again = life.start(T0 + 1)
    assert not set(publics(first).values()) & set(publics(again).values())
    assert again.descriptor.version > first.descriptor.version


def test_left_over_logs_are_removed_and_other_files_let_be(life):
    life.start(T0)
    folder = life.dir / "replay"
    for name in ("1.log", f"{E0 - 1}.log", "abc.log", f"{E0 + 9}.log", "README"):
        (folder / name).write_bytes(b"x")
    life.start(T0)
    assert life.logs() == {f"{E0}.log", f"{E0 + 1}.log", "README"}


def test_a_version_in_the_file_is_never_gone_back_on(life):
    """Whatever the clock says now: others keep the highest version that they have heard."""
    first = life.start(T0)
    again = life.start(T0 - 100_000)
    assert again.descriptor.version > first.descriptor.version


# -- a disk that refuses ---------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """Call it with a condition on the file's name: writes to such files fail."""
    write = os.write

    def fill(suffix, part=0):
        def refuse(descriptor, data):
            name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if not name.endswith(suffix):
                return write(descriptor, data)
            if part:
                return write(descriptor, data[:part])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", refuse)

    return fill


@pytest.mark.parametrize("part", [0, 5, 16])
def test_a_tag_that_is_not_written_ends_the_keys_life_with_the_process(life, full, monkeypatch, part):
    rotation = life.start(T0)
    use(rotation, E0, TAGS[:10])
    old = publics(rotation)
    full(f"{E0}.log", part)
    use(rotation, E0, TAGS[10:20])
    monkeypatch.undo()
    assert life.log.levels == ["error"]
    assert f"{E0}.log" not in life.logs()
    use(rotation, E0, TAGS[20:30])  # it goes on, in memory
    assert knows(rotation, E0, TAGS[:30])
    assert life.log.levels == ["error"]  # told once
    again = life.start(T0 + 1)
    assert publics(again)[E0] != old[E0]
    assert publics(again)[E0 + 1] == old[E0 + 1]
    assert again.descriptor.version > rotation.descriptor.version


def test_after_a_full_disk_the_next_keys_have_logs_again(life, full, monkeypatch):
    rotation = life.start(T0)
    full(f"{E0}.log")
    use(rotation, E0, TAGS)
    monkeypatch.undo()
    rotation.update(T0 + 60)
    use(rotation, E0 + 1, TAGS)
    again = life.start(T0 + 65)
    assert publics(again)[E0 + 1] == publics(rotation)[E0 + 1]
    assert knows(again, E0 + 1, TAGS)


def test_a_disk_that_is_full_at_a_rotation(life, full, monkeypatch):
    """Rotation goes on in memory, and is written as soon as there is room."""
    rotation = life.start(T0)
    old = privates(rotation)
    full("")
    monkeypatch.setattr("peerd.store.mixkeys.write_secret", refuse)
    assert rotation.update(T0 + 60) is True
    assert rotation.update(T0 + 80) is False
    assert set(publics(rotation)) == {E0 + 1, E0 + 2}
    assert rotation.keyring.accepted == (E0 + 1,)
    assert "error" in life.log.levels
    said = len(life.log.said)
    rotation.update(T0 + 90)
    assert len(life.log.said) == said  # not again and again
    use(rotation, E0 + 2, TAGS)
    monkeypatch.undo()
    rotation.update(T0 + 91)
    assert not is_written(life, old[E0])
    assert not is_written(life, privates(rotation)[E0 + 2])  # it has no log
    again = life.start(T0 + 92)
    assert publics(again)[E0 + 1] == publics(rotation)[E0 + 1]
    assert publics(again)[E0 + 2] != publics(rotation)[E0 + 2]
    assert again.descriptor.version > rotation.descriptor.version


def test_a_restart_while_the_key_file_is_old_uses_no_key_without_tags(life, full, monkeypatch):
    rotation = life.start(T0)
    old = privates(rotation)
    use(rotation, E0 + 1, TAGS)
    monkeypatch.setattr("peerd.store.mixkeys.write_secret", refuse)
    rotation.update(T0 + 60)
    rotation.update(T0 + 80)
    monkeypatch.undo()
    again = life.start(T0 + 81)
    assert privates(again)[E0 + 1] == old[E0 + 1]
    assert knows(again, E0 + 1, TAGS)
    assert publics(again)[E0 + 2] != publics(rotation)[E0 + 2]
    assert not is_written(life, old[E0])
    assert again.descriptor.version > rotation.descriptor.version


def test_a_log_that_cannot_be_removed_does_not_stop_rotation(life, monkeypatch):
    """A read-only file system once would have: the timer that rotates was never set again."""
    rotation = life.start(T0)
    rotation.update(T0 + 60)
    unlink = Path.unlink

    def read_only(self, missing_ok=False):
        if self.suffix == ".log" and self.exists():
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", read_only)
    rotation.update(T0 + 80)
    rotation.update(T0 + 160)
    rotation.update(T0 + 180)
    assert rotation.keyring.accepted == (E0 + 2,)
    assert set(publics(rotation)) == {E0 + 2, E0 + 3}
    assert "error" in life.log.levels
    monkeypatch.undo()
    life.start(T0 + 181)
    assert life.logs() == {f"{E0 + 2}.log", f"{E0 + 3}.log"}


LIMITED = """
import os, resource, signal, sys
from pathlib import Path
from peerd.epochs import Rotation
from peerd.membership import Identity
from peerd.sphinx import Epochs
folder = Path(sys.argv[1])
class Log:
    def warning(self, event, **_): print("warning", event)
    def error(self, event, **_): print("error", event)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rotation = Rotation(folder, Identity.load(folder), Epochs(100.0, 20.0), 1000, Log())
rotation.start(1_700_000_040.0)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for number in range(100):
    rotation.append(17_000_000, [bytes([number]) * 16])
print(rotation.keyring[17_000_000].key.private.hex())
print("alive", (folder / "replay" / "17000000.log").exists())
"""


def test_a_file_that_may_grow_no_more(life):
    """The kernel's own limit, not a mock."""
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(life.dir)], capture_output=True, text=True, check=True
    )
    *said, before, last = ended.stdout.splitlines()
    assert last == "alive False"
    assert [line.split()[0] for line in said] == ["error"]
    keys = json.loads((life.dir / "mixkeys.json").read_bytes())["keys"]
    assert [key["epoch"] for key in keys] == [E0 + 1]
    assert privates(life.start(T0 + 1))[E0] != bytes.fromhex(before)


def refuse(*_arguments, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")
