"""Files that somebody names are read within a bound; what is no file is not waited for."""

from __future__ import annotations

import ast
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.config import load
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.reading import read_bounded, read_text

ROOT = Path(__file__).parents[2]
UNBOUNDED = {
    "ctl/testbed/processes.py": "of the kernel, in /proc",
    "ctl/linking/learners.py": "what its own child answers",
    "ctl/dashboard/server.py": "a request, whose size the server bounds",
    "peerd/control/guard.py": "no file: a request, whose size gRPC bounds",
    "peerd/host/limits.py": "of the kernel, in /proc and /sys",
    "peerd/store/mixkeys.py": "of the kernel, in /proc",
    "peerd/training/__main__.py": "of the kernel, in /proc",
    "peerd/web/assets.py": "of this package",
    "peerd/backup/unpacking.py": "no file: its own reader, header by header",
}
"""Where something is read whole, and why it may."""


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


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_what_has_no_end_or_must_be_waited_for_is_no_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match=r"cannot be read: not a regular file \(a test\)$"):
        read_bounded(tmp_path / name, 10, "a test")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        load(tmp_path / name)


def test_a_size_is_not_believed():
    """The kernel says of its files that they are empty."""
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    assert read_bounded(path, 1 << 16, "a test").startswith(b"Name:")
    with pytest.raises(InvalidInputError, match="larger than 10 bytes"):
        read_bounded(path, 10, "a test")


def test_a_file_that_grows_is_bounded_too(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_bytes(b"x")
    real = os.fstat

    def grows(descriptor):
        found = real(descriptor)
        with path.open("ab") as file:
            file.write(b"y" * 3_000_000)
        return found

    monkeypatch.setattr(os, "fstat", grows)
    with pytest.raises(InvalidInputError, match="larger than 2000000 bytes"):
        read_bounded(path, 2_000_000, "a test")


@given(st.text(max_size=20) | st.binary(max_size=20).map(os.fsdecode))
def test_any_name_is_a_file_or_one_line(name):
    try:
        read_bounded(Path("/nowhere") / name.lstrip("/"), 10, "a test")
    except PeerdError as error:
        assert isinstance(error, NotFoundError | InvalidInputError)


def test_a_file_of_the_kernel_with_nothing_to_say_now_is_not_waited_for(tmp_path, monkeypatch):
    """As /proc/kmsg, whose lines nobody else gets once they are read."""

    class Silent(io.BytesIO):
        def fileno(self):
            return os.open(tmp_path / "x", os.O_RDONLY | os.O_CREAT)

        def read(self, _size):
            return None

    monkeypatch.setattr(os, "fdopen", lambda descriptor, _mode: os.close(descriptor) or Silent())
    (tmp_path / "x").touch()
    assert read_bounded(tmp_path / "x", 10, "a test") == b""


def test_text_that_is_none(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(InvalidInputError, match="cannot be read: 'utf-8'"):
        read_text(tmp_path / "x", 10, "a test")


def whole_reads(source):
    """Of `path.read_text()`, `path.read_bytes()` and `file.read()`: the lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, bounded = node.func.attr, bool(node.args)
            if name in ("read_text", "read_bytes") or (name in ("read", "readline") and not bounded):
                yield node.lineno


def test_nothing_else_reads_a_file_whole():
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("peerd", "ctl")
        for path in (ROOT / package).rglob("*.py")
        if list(whole_reads(path.read_text(encoding="utf-8")))
    }
    assert found == UNBOUNDED.keys()
