from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import sys
from typing import Any

import pytest
import structlog

from peerd.config import LoggingConfig
from peerd.observe import configure_logging
from peerd.observe.redact import REDACTED

pytestmark = pytest.mark.usefixtures("root_logging")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_log(level: str = "info") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    return configure_logging(LoggingConfig(level=level, format="json"), stream), stream


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
    log = configure_logging(LoggingConfig(format="console"), stream)
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
    log = configure_logging(LoggingConfig(format=style), stream)
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


class BrokenStream(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_stop_the_daemon() -> None:
    configure_logging(LoggingConfig(), BrokenStream()).error("nobody reads this")
    closed = io.StringIO()
    log = configure_logging(LoggingConfig(), closed)
    closed.close()
    log.error("nor this")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as pipe:
        configure_logging(LoggingConfig(), pipe).error("nor that")
        os.dup2(os.open(os.devnull, os.O_WRONLY), write_end)  # so that closing can flush


def test_by_default_it_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingConfig(format="json"), None).info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "here"
    assert sys.stderr is not None
