"""The log in a file: put aside by size, the owner's alone, and a disk that refuses costs lines only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.observe import logfile
from peerd.observe.logfile import LogFile, check_file


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[bool, int]] = []

    def __call__(self, failing: bool, lost: int) -> None:
        self.calls.append((failing, lost))


def make(path: Path, max_bytes: int = 10_000, backups: int = 2) -> tuple[LogFile, Told]:
    told = Told()
    return LogFile(str(path), max_bytes, backups, told), told


def test_lines_are_appended_and_only_the_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "peerd.log"
    for line in ("one", "two ü"):
        file, _ = make(path)
        file.write(line)
        file.close()
    assert path.read_text() == "one\ntwo ü\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.text("aé\U0001f980 ", max_size=60), max_size=40), st.integers(100, 400), st.integers(1, 3))
def test_however_much_comes_the_files_are_bounded_and_the_newest_stays(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], limit: int, backups: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "peerd.log"
    file, told = make(path, limit, backups)
    for line in lines:
        file.write(line)
    file.close()
    assert told.calls == []
    files = sorted(path.parent.iterdir())
    assert len(files) <= backups + 1
    for one in files:
        assert one.stat().st_size <= limit + 4 * 61  # a line is measured in characters, written in bytes
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
    kept = [p for n in range(backups, 0, -1) if (p := path.with_name(f"peerd.log.{n}")).exists()]
    text = "".join(one.read_text() for one in [*kept, *([path] if path.exists() else [])])
    assert "".join(f"{line}\n" for line in lines).endswith(text)
    assert not lines or text.endswith(f"{lines[-1]}\n")


def test_a_full_disk_costs_lines_which_are_counted_and_then_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "peerd.log"
    file, told = make(path)
    file.write("before")
    with monkeypatch.context() as patched:
        patched.setattr(logfile, "_opened", lambda _path: Path("/dev/full").open("a"))  # noqa: SIM115
        file.stream.close()
        file.stream = file._open()
        for _ in range(3):
            file.write("lost")
    assert told.calls == [(True, 1)]
    assert file.failing
    file.write("after")
    assert (told.calls, file.failing, file.lost) == ([(True, 1), (False, 3)], False, 3)
    assert path.read_text() == "before\nafter\n"
    file.close()


def test_a_folder_that_goes_away_costs_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "peerd.log"
    path.parent.mkdir()
    file, told = make(path, 100)
    file.write("x" * 90)
    path.unlink()
    path.parent.rmdir()
    file.write("y" * 90)  # must be put aside, and cannot
    assert told.calls == [(True, 1)]
    path.parent.mkdir()
    file.write("z")
    assert told.calls[-1] == (False, 1)
    assert path.read_text() == "z\n"
    file.close()


def test_where_lines_could_not_be_written_is_said_before(tmp_path: Path) -> None:
    check_file("")
    check_file(str(tmp_path / "new.log"))
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none" / "a.log", "No such file or directory"),
        (Path("/dev/null"), "not a file"),
        (tmp_path / "pipe", os.strerror(errno.ENXIO)),
    ):
        with pytest.raises(InvalidInputError, match=rf"^logging\.file: {path} cannot be written: {why}$"):
            check_file(str(path))
