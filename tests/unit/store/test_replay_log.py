from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.store import ReplayLog
from peerd.store.replay_log import HEAD_BYTES, SYNC_EVERY, TAG_BYTES

KEY = b"k" * 32
TAGS = st.lists(st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES), max_size=20)

APPEND = """
import os, signal, sys
from pathlib import Path
from peerd.store import ReplayLog
log = ReplayLog.open(Path(sys.argv[1]), b"k" * 32)
log.append([bytes([n]) * 16 for n in range(100)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replay.log"


def tags_in(path, key=KEY):
    log = ReplayLog.open(path, key)
    try:
        return list(log.tags())
    finally:
        log.close()


@given(st.lists(TAGS, max_size=5))
def test_what_was_appended_comes_back_in_order(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    for batch in batches:
        log = ReplayLog.open(path, KEY)
        log.append(batch)
        log.close()
    assert tags_in(path) == [tag for batch in batches for tag in batch]


def test_it_survives_kill_9(path):
    ended = subprocess.run([sys.executable, "-c", APPEND, str(path)], check=False)
    assert ended.returncode == -9
    assert tags_in(path) == [bytes([n]) * 16 for n in range(100)]


@given(TAGS, st.integers(0, 400))
def test_cut_anywhere_the_whole_tags_remain_and_it_goes_on(tmp_path_factory, tags, length):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    log = ReplayLog.open(path, KEY)
    log.append(tags)
    log.close()
    os.truncate(path, min(length, path.stat().st_size))
    whole = max(0, min(length, HEAD_BYTES + TAG_BYTES * len(tags)) - HEAD_BYTES) // TAG_BYTES
    log = ReplayLog.open(path, KEY)
    assert list(log.tags()) == tags[:whole]
    log.append([b"n" * TAG_BYTES])
    log.close()
    assert tags_in(path) == [*tags[:whole], b"n" * TAG_BYTES]


def test_the_log_of_another_key_is_discarded(path):
    log = ReplayLog.open(path, KEY)
    log.append([b"t" * TAG_BYTES])
    log.close()
    assert tags_in(path, b"j" * 32) == []
    assert tags_in(path, KEY) == []


@given(st.binary(min_size=1, max_size=200))
def test_another_file_is_neither_read_nor_overwritten(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "replay.log"
    data = b"not " + data
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="not a replay log"):
        ReplayLog.open(path, KEY)
    assert path.read_bytes() == data


def test_the_file_is_the_owners_alone_and_holds_no_key(path):
    log = ReplayLog.open(path, KEY)
    log.append([b"t" * TAG_BYTES])
    log.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY[:16] not in path.read_bytes()
    assert path.stat().st_size == HEAD_BYTES + TAG_BYTES


def test_many_tags_are_read_in_pieces(path):
    tags = [n.to_bytes(TAG_BYTES, "big") for n in range(70_000)]
    log = ReplayLog.open(path, KEY)
    log.append(tags)
    log.close()
    assert tags_in(path) == tags


def test_it_is_synced_now_and_then_and_on_close(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append("data"))
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append("all"))
    log = ReplayLog.open(path, KEY)
    for _ in range(SYNC_EVERY - 1):
        log.append([b"t" * TAG_BYTES])
    assert synced == []
    log.append([b"t" * TAG_BYTES])
    assert synced == ["data"]
    log.close()
    assert synced == ["data", "all"]


def test_a_full_disk_leaves_whole_tags(path, monkeypatch):
    log = ReplayLog.open(path, KEY)
    log.append([b"a" * TAG_BYTES])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    with pytest.raises(OSError, match="No space"):
        log.append([b"b" * TAG_BYTES])
    monkeypatch.undo()
    log.append([b"c" * TAG_BYTES])
    log.close()
    assert tags_in(path) == [b"a" * TAG_BYTES, b"c" * TAG_BYTES]


def test_a_folder_in_its_place_is_one_clear_line(path):
    path.mkdir()
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        ReplayLog.open(path, KEY)
