from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog

from peerd.config import LoggingConfig
from peerd.errors import InvalidInputError
from peerd.observe import Logs
from peerd.observe.redact import REDACTED

pytestmark = pytest.mark.usefixtures("root_logging")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_log(level: str = "info") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    return Logs(LoggingConfig(level=level, format="json"), stream).log, stream


def test_a_json_line_has_event_level_time_and_fields() -> None:
    log, stream = json_log()
    log.bind(run="12345678").warning("round closed", round=3, stage="training")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "round closed",
        "level": "warning",
        "run": "12345678",
        "round": 3,
        "stage": "training",
    }


def test_a_console_line_is_plain_text_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    log = Logs(LoggingConfig(format="console"), stream).log
    log.info("peer is up", name="alice", mix_key="0")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    for part in ("info", "peer is up", "name=alice", f"mix_key={REDACTED}"):
        assert part in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: str, shown: list[str]) -> None:
    log, stream = json_log(level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert [line["level"] for line in lines(stream)] == shown


@pytest.mark.parametrize("style", ["json", "console"])
def test_secrets_do_not_come_out_in_events_fields_arguments_or_tracebacks(style: str) -> None:
    stream = io.StringIO()
    log = Logs(LoggingConfig(format=style), stream).log
    secret = bytes(range(200, 232))
    log.info("made %s", secret.hex(), tag="topsecret", value=secret, error=str(secret))
    try:
        raise ValueError(f"cannot use {secret!r} or {secret.hex()}")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "ValueError: cannot use" in text
    assert text.count(REDACTED) >= 6
    for trace in (secret.hex(), "topsecret", "xc8"):
        assert trace not in text


def test_library_warnings_go_through_the_same_pipe() -> None:
    _, stream = json_log()
    logging.getLogger("grpc").info("chatter")
    logging.getLogger("grpc._server").warning("odd %s", "a1" * 20)
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("asyncio").exception("callback failed")
    first, second = lines(stream)
    assert (first["level"], first["library"]) == ("warning", "grpc._server")
    assert first["event"] == f"odd {REDACTED}"
    assert (second["level"], second["event"]) == ("error", "callback failed")
    assert second["exception"].endswith("RuntimeError: boom")
    assert "exception" not in first


async def test_an_exception_that_nobody_awaited_is_logged_by_asyncio() -> None:
    _, stream = json_log()
    asyncio.get_running_loop().call_exception_handler(
        {"message": "lost", "exception": RuntimeError("in a callback")}
    )
    (line,) = lines(stream)
    assert (line["level"], line["library"]) == ("error", "asyncio")
    assert "RuntimeError: in a callback" in line["exception"]


def test_a_record_that_cannot_be_formatted_does_not_raise(capsys: pytest.CaptureFixture[str]) -> None:
    _, stream = json_log()
    logging.getLogger("odd").warning("%d", "no number")
    assert stream.getvalue() == ""
    assert "--- Logging error ---" in capsys.readouterr().err


def test_structlog_and_other_loggers_stay_as_they_were() -> None:
    before = structlog.get_config()
    first, one = json_log()
    second, two = json_log("error")
    first.info("to the first")
    second.error("to the second")
    assert structlog.get_config() == before
    assert [line["event"] for line in lines(one)] == ["to the first"]
    assert [line["event"] for line in lines(two)] == ["to the second"]


def test_the_level_changes_at_once_also_of_what_was_bound_before() -> None:
    stream = io.StringIO()
    logs = Logs(LoggingConfig(format="json"), stream)
    bound = logs.log.bind(run="12345678")
    bound.debug("not yet")
    logs.apply(LoggingConfig(format="json", level="debug"))
    bound.debug("now", part=1)
    logs.apply(LoggingConfig(format="console", level="error"))
    bound.warning("no longer")
    bound.error("plain")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["event"] == "now"
    assert "plain" in second
    assert not second.startswith("{")


async def test_what_is_written_is_remembered_redacted_whatever_the_format() -> None:
    logs = Logs(LoggingConfig(format="console"), io.StringIO())
    logs.log.debug("below the level")
    logs.log.bind(run="1").warning("odd %s", "a1" * 20, mix_key="0", size=3)
    ((line,),) = [batch.lines async for batch in logs.ring.watch(follow=False)]
    assert (line.level, line.event) == ("warning", f"odd {REDACTED}")
    assert json.loads(line.fields) == {"run": "1", "mix_key": REDACTED, "size": 3}


@pytest.mark.parametrize("form", ["console", "json"])
def test_lines_go_to_the_file_too_and_that_can_change(tmp_path: Path, form: str) -> None:
    stream = io.StringIO()
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    logs = Logs(LoggingConfig(format=form, file=str(first)), stream)
    logs.log.info("one", tag="topsecret")
    logs.apply(LoggingConfig(format=form, file=str(second)))
    logs.log.info("two")
    moved = second.rename(tmp_path / "moved.log")
    logs.apply(LoggingConfig(format=form, file=str(second)))
    logs.log.info("three")
    logs.apply(LoggingConfig(format=form))
    logs.log.info("four")
    files = [path.read_text() for path in (first, moved, second)]
    assert [len(text.splitlines()) for text in files] == [1, 1, 1]
    assert "".join(files) == "".join(stream.getvalue().splitlines(keepends=True)[:3])
    assert "topsecret" not in files[0]


def test_a_file_that_cannot_be_written_is_refused_at_the_start_and_told_of_later(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"^logging\.file: .* cannot be written: Is a directory$"):
        Logs(LoggingConfig(file=str(tmp_path)), io.StringIO())
    stream, told = io.StringIO(), []
    folder = tmp_path / "logs"
    folder.mkdir()
    config = LoggingConfig(file=str(folder / "a.log"), format="json")
    logs = Logs(config, stream)
    logs.on_failing = lambda failing, lost: told.append((failing, lost))
    (folder / "a.log").unlink()
    folder.rmdir()
    logs.apply(config)
    logs.log.info("lost to the file")
    assert told == [(True, 1)]
    assert len(lines(stream)) == 1
    logs.apply(LoggingConfig(format="json"))
    assert told == [(True, 1), (False, 1)]


def test_a_file_that_cannot_be_put_aside_is_told_of_in_the_log_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    (tmp_path / "a.log.1").mkdir()
    stream = io.StringIO()
    logs = Logs(LoggingConfig(file=str(path), format="json", max_bytes=10_000, backups=1), stream)
    for _ in range(30):
        logs.log.info("x" * 1_000)
    events = [line["event"] for line in lines(stream)]
    assert events.count("the log file cannot be put aside: it goes on growing") == 1
    assert len(path.read_text().splitlines()) == len(events) == 31


class BrokenStream(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_stop_the_daemon() -> None:
    Logs(LoggingConfig(), BrokenStream()).log.error("nobody reads this")
    closed = io.StringIO()
    log = Logs(LoggingConfig(), closed).log
    closed.close()
    log.error("nor this")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        Logs(LoggingConfig(), pipe).log.error("nor that")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)  # so that closing can flush


def test_by_default_it_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Logs(LoggingConfig(format="json"), None).log.info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"
    assert sys.stderr is not None
