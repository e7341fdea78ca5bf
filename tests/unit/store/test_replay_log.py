from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.store import ReplayLog
from peerd.store.replay_log import HEAD_BYTES, MAGIC, TAG_BYTES

KEY = b"k" * 32
OTHER = b"j" * 32
TAGS = st.lists(st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES), max_size=20)

APPEND = """
import os, signal, sys
from pathlib import Path
from peerd.store import ReplayLog
log = ReplayLog.create(Path(sys.argv[1]), b"k" * 32)
log.append([bytes([n]) * 16 for n in range(100)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replay.log"


@pytest.fixture
def log(path):
    """A new one."""
    made = ReplayLog.create(path, KEY)
    yield made
    made.close()


def open_files():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def tags_in(path, key=KEY):
    log = ReplayLog.open(path, key)
    try:
        return list(log.tags())
    finally:
        log.close()


@given(st.lists(TAGS, max_size=5))
@settings(deadline=None)  # the disk may be slow
def test_what_was_appended_comes_back_in_order(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    ReplayLog.create(path, KEY).close()
    for batch in batches:
        log = ReplayLog.open(path, KEY)
        log.append(batch)
        log.close()
    assert tags_in(path) == [tag for batch in batches for tag in batch]


def test_a_new_one_is_empty_and_can_be_read_at_once(log):
    assert list(log.tags()) == []
    log.append([b"t" * TAG_BYTES])
    assert list(log.tags()) == [b"t" * TAG_BYTES]


def test_it_survives_kill_9(path):
    ended = subprocess.run([sys.executable, "-c", APPEND, str(path)], check=False)
    assert ended.returncode == -9
    assert tags_in(path) == [bytes([n]) * 16 for n in range(100)]


@given(TAGS, st.integers(0, 400))
@settings(deadline=None)  # the disk may be slow
def test_cut_anywhere_the_whole_tags_remain_and_it_goes_on(tmp_path_factory, tags, length):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    log = ReplayLog.create(path, KEY)
    log.append(tags)
    log.close()
    length = min(length, path.stat().st_size)
    os.truncate(path, length)
    if length < HEAD_BYTES:
        with pytest.raises(InvalidInputError, match="not the replay log of this mix key"):
            ReplayLog.open(path, KEY)
        return
    whole = (length - HEAD_BYTES) // TAG_BYTES
    log = ReplayLog.open(path, KEY)
    assert list(log.tags()) == tags[:whole]
    log.append([b"n" * TAG_BYTES])
    log.close()
    assert tags_in(path) == [*tags[:whole], b"n" * TAG_BYTES]


def test_the_log_of_another_key_is_refused_and_left_alone(log, path):
    log.append([b"t" * TAG_BYTES])
    with pytest.raises(InvalidInputError, match="not the replay log of this mix key"):
        ReplayLog.open(path, OTHER)
    assert tags_in(path) == [b"t" * TAG_BYTES]


@given(st.binary(max_size=200))
@settings(deadline=None)  # the disk may be slow
def test_another_file_is_neither_read_nor_overwritten(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    for content in (data, b"not " + data, MAGIC + data):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="not the replay log of this mix key"):
            ReplayLog.open(path, KEY)
        assert path.read_bytes() == content


def test_a_missing_one_is_never_made_by_opening_it(path):
    """A key whose tags are lost must not go on with an empty log."""
    with pytest.raises(InvalidInputError, match="No such file"):
        ReplayLog.open(path, KEY)
    assert not path.exists()


def test_what_is_there_is_never_overwritten_by_making_it(log, path):
    log.append([b"t" * TAG_BYTES])
    with pytest.raises(FileExistsError):
        ReplayLog.create(path, KEY)
    assert tags_in(path) == [b"t" * TAG_BYTES]


def test_a_link_to_elsewhere_is_not_followed_by_making_it(tmp_path, path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        ReplayLog.create(path, KEY)
    assert not (tmp_path / "elsewhere").exists()


def test_the_file_is_the_owners_alone_and_holds_no_key(log, path):
    log.append([b"t" * TAG_BYTES])
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY[:16] not in path.read_bytes()
    assert path.stat().st_size == HEAD_BYTES + TAG_BYTES
    assert path.read_bytes()[:HEAD_BYTES] == MAGIC + hashlib.sha256(KEY).digest()[:16]


def test_many_tags_are_read_in_pieces(log, path):
    tags = [n.to_bytes(TAG_BYTES, "big") for n in range(70_000)]
    log.append(tags)
    assert tags_in(path) == tags


def test_nothing_waits_for_the_disk(log, monkeypatch):
    """It is on the way of every packet; no key outlives the kernel, whose page cache is enough."""

    def never(_descriptor):
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", never)
    monkeypatch.setattr(os, "fdatasync", never)
    for _ in range(5000):
        log.append([b"t" * TAG_BYTES])


@pytest.mark.parametrize("taken", [0, 7, TAG_BYTES])
def test_a_full_disk_is_told_even_where_it_took_a_part(log, path, monkeypatch, taken):
    log.append([b"a" * TAG_BYTES])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:taken]))
    with pytest.raises(OSError, match="No space"):
        log.append([b"b" * TAG_BYTES, b"c" * TAG_BYTES])
    monkeypatch.undo()
    assert tags_in(path) == [b"a" * TAG_BYTES, *([b"b" * TAG_BYTES] if taken == TAG_BYTES else [])]


def test_a_head_that_was_not_written_whole_is_no_log(path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
    before = open_files()
    with pytest.raises(OSError, match="No space"):
        ReplayLog.create(path, KEY)
    monkeypatch.undo()
    assert open_files() == before  # the file was closed again
    with pytest.raises(InvalidInputError, match="not the replay log"):
        ReplayLog.open(path, KEY)


def test_refusing_leaves_no_file_open(log, path):
    before = open_files()
    for _ in range(5):
        with pytest.raises(InvalidInputError):
            ReplayLog.open(path, OTHER)
    assert open_files() == before


def test_a_folder_in_its_place_is_one_clear_line(path):
    path.mkdir()
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        ReplayLog.open(path, KEY)
