"""The log in a file: put aside by size, the owner's alone, and a disk that refuses costs lines only."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.observe import logfile
from peerd.observe.logfile import RETRY_SECONDS, LogFile, check_file

NOBODY = 65534


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[bool, int]] = []

    def __call__(self, failing: bool, lost: int) -> None:
        self.calls.append((failing, lost))


def make(path: Path, max_bytes: int = 10_000, backups: int = 2) -> tuple[LogFile, Told]:
    told = Told()
    return LogFile(str(path), max_bytes, backups, told, lambda _why: None), told


class Growing:
    """A log file whose `FILE.1` cannot be replaced, on a clock of its own."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.lost, self.said = path, 0.0, Told(), []
        self.blocked = path.with_name(f"{path.name}.1")
        self.file = LogFile(str(path), 10_000, 1, self.lost, self.said.append, lambda: self.now)

    def block(self) -> None:
        self.blocked.mkdir()
        (self.blocked / "in use").touch()


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    made = Growing(tmp_path / "peerd.log")
    yield made
    made.file.close()


@pytest.fixture
def premade() -> Iterator[Path]:
    """A file that we may write, in a folder that we may not; root is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "peerd.log")
        path.touch()
        root = os.geteuid() == 0
        if root:
            os.chown(path, NOBODY, NOBODY)
        Path(folder).chmod(0o555)
        try:
            if root:
                os.seteuid(NOBODY)
            yield path
        finally:
            if root:
                os.seteuid(0)
            Path(folder).chmod(0o700)


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


def test_what_cannot_be_put_aside_goes_on_in_the_same_file_and_is_said_once(growing: Growing) -> None:
    growing.block()
    lines = [f"{number:03} {'x' * 96}" for number in range(300)]  # three times max_bytes
    for line in lines:
        growing.file.write(line)
    assert growing.path.read_text().splitlines() == lines
    assert (growing.lost.calls, growing.file.lost, growing.file.failing) == ([], 0, False)
    (why,) = growing.said
    assert why


def test_it_is_tried_again_a_while_later(growing: Growing) -> None:
    growing.block()
    growing.file.write("x" * 9_990)
    growing.file.write("too much")
    growing.now = RETRY_SECONDS - 1.0
    (growing.blocked / "in use").unlink()
    growing.blocked.rmdir()
    growing.file.write("not yet")
    assert not growing.blocked.exists()
    growing.now = RETRY_SECONDS
    growing.file.write("fresh")
    assert growing.path.read_text() == "fresh\n"
    assert growing.blocked.read_text().splitlines()[1:] == ["too much", "not yet"]
    assert len(growing.said) == 2
    assert growing.said[1] == ""


@given(st.lists(st.booleans(), max_size=30))
@settings(deadline=None, max_examples=30)
def test_whenever_it_is_blocked_no_line_is_lost(
    tmp_path_factory: pytest.TempPathFactory, blocked: list[bool]
) -> None:
    growing = Growing(tmp_path_factory.mktemp("log") / "peerd.log")
    growing.file.backupCount = 50
    written, pending = [], iter(blocked)

    def rotate(source: str, target: str) -> None:
        if next(pending, False):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        Path(source).rename(target)

    growing.file.rotator = rotate
    for number in range(len(blocked)):
        growing.now += RETRY_SECONDS
        written.append(f"{number} {'x' * 6_000}")
        growing.file.write(written[-1])
    growing.file.close()
    files = sorted(p for p in growing.path.parent.iterdir() if p.is_file())
    found = [line for p in files for line in p.read_text().splitlines()]
    assert sorted(found) == sorted(written)
    assert growing.lost.calls == []
    assert [bool(why) for why in growing.said] == [number % 2 == 0 for number in range(len(growing.said))]


def test_a_folder_in_which_nothing_can_be_put_aside_is_said_before(premade: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_file(str(premade))
    assert str(caught.value) == (
        f"logging.file: {premade} cannot be put aside when it is full: this user may not write in "
        f"{premade.parent}; name a file in a folder that it may, such as /var/log/peerd"
    )


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
