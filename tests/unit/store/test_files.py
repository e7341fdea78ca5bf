from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError, NotFoundError
from peerd.store import read_bounded, write_atomic, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_comes_back_and_is_replaced(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert read_bounded(path, 3, "a test") == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_the_owners_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        write_secret(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == 0o600


def test_a_secret_is_never_readable_by_others_not_even_while_written(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr(os, "fsync", lambda fd: modes.append(os.fstat(fd).st_mode))
    before = os.umask(0)
    try:
        write_secret(tmp_path / "key", b"secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE(modes[0]) == 0o600


def test_file_and_folder_are_synced_in_this_order(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    )
    write_atomic(tmp_path / "file", b"x")
    assert synced == ["file", "folder"]


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_named_with_its_purpose(tmp_path):
    with pytest.raises(NotFoundError) as error:
        read_bounded(tmp_path / "gone", 10, "keys; make them with `peerd init`")
    assert str(tmp_path / "gone") in str(error.value)
    assert "peerd init" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_bounded(tmp_path, 10, "a test")


@given(st.binary(max_size=64), st.integers(0, 64))
def test_exactly_the_files_within_the_limit_are_read(tmp_path_factory, data, limit):
    path = tmp_path_factory.getbasetemp() / "bounded"
    path.write_bytes(data)
    if len(data) <= limit:
        assert read_bounded(path, limit, "a test") == data
    else:
        with pytest.raises(InvalidInputError, match="larger than"):
            read_bounded(path, limit, "a test")
