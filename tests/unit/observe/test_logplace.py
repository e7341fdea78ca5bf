"""Which files the log may be written to."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.config import LoggingConfig
from peerd.errors import InvalidInputError
from peerd.observe import Logs
from peerd.observe.logplace import _is_log, check_place


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "identity.json").write_text('{"key": 1}')
    return folder


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_log_goes_on_where_it_is_one(tmp_path: Path, state: Path, form: str) -> None:
    config = LoggingConfig(format=form, file=str(tmp_path / "peerd.log"), level="debug")
    for level in ("debug", "info", "warning", "error"):
        logs = Logs(config, io.StringIO(), state)
        getattr(logs.log, level)("peer is up", name="ümläut", detail="two\nlines")
        (tmp_path / "peerd.log").rename(tmp_path / "peerd.log.1")
        Logs(config, io.StringIO(), state)
        assert (tmp_path / "peerd.log").read_bytes() == b""


@pytest.mark.parametrize("name", ["identity.json", "new.log", "folder/new.log", "../state/new.log"])
def test_never_in_the_state_directory(tmp_path: Path, state: Path, name: str) -> None:
    (tmp_path / "link").symlink_to(state)
    (tmp_path / "direct").symlink_to(state / name)
    for path in (state / name, tmp_path / "link" / name, tmp_path / "direct"):
        with pytest.raises(InvalidInputError, match=r"^logging\.file: .* is in the state directory"):
            Logs(LoggingConfig(file=str(path)), io.StringIO(), state)
    assert [path.name for path in state.iterdir()] == ["identity.json"]
    assert (state / "identity.json").read_text() == '{"key": 1}'


@pytest.mark.parametrize(
    "text",
    [
        "mine\n", "\n", '{"key": 1}', '{"event": "a"}\n', '["event", "level", "timestamp"]\n', "[" * 100_000,
        "-----BEGIN PRIVATE KEY-----\n", "x" * (2 << 20), "2026-11-29 [info] almost\n", "\x00\x01",
    ],
)  # fmt: skip
def test_never_over_what_is_no_log(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.log"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=r"^logging\.file: \S+ is no log of peerd's; name another"):
        check_place(str(file), 5, None)
    file.rename(tmp_path / "a.log.3")
    with pytest.raises(InvalidInputError, match=r"would replace \S+a\.log\.3, which is no log of peerd's"):
        check_place(str(file), 5, None)
    check_place(str(file), 2, None)


@given(data=st.binary(max_size=200))
def test_no_bytes_at_the_place_crash_the_check(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "a.log"
    file.write_bytes(data)
    assert _is_log(file) is (data == b"")


def test_links_in_a_circle_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(InvalidInputError, match=r"cannot be written: its links go in a circle$"):
        check_place(str(tmp_path / "a"), 5, None)


def test_off_is_a_place_too() -> None:
    check_place("", 5, None)
