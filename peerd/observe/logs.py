"""structlog to stderr, to a ring that operators read, and to a file where one is named; console or JSON, with
redaction. structlog's global configuration stays as it is.

The root of Python's `logging` is global by nature: warnings of libraries (asyncio, grpc) come to it,
and `Logs` makes them structlog events in the same pipe. gRPC's C core writes to stderr
by itself; GRPC_VERBOSITY=NONE silences it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from peerd.config import LoggingConfig
from peerd.observe.logfile import LogFile, check_file
from peerd.observe.logplace import check_place
from peerd.observe.redact import redact
from peerd.observe.ring import LEVELS, LogRing

Event = MutableMapping[str, Any]
Renderer = Callable[[Any, str, Event], Any]


class _Pipe:
    """Where finished lines go. A log that cannot be written never stops the daemon."""

    def __init__(self, stream: TextIO, ring: LogRing) -> None:
        self._stream = stream
        self._ring = ring
        self._coloured = stream.isatty()
        self.level = 0
        self.file: LogFile | None = None
        self._plain: Renderer
        self._shown: Renderer

    def style(self, form: str) -> None:
        self._plain = _renderer(form, colours=False)
        self._shown = _renderer(form, colours=True) if self._coloured else self._plain

    def _write(self, event: Event) -> None:
        self._ring.add(event)
        line = self._plain(None, "", dict(event))
        file = self.file  # another thread may put another one there
        if file is not None:
            file.write(line)
        if self._shown is not self._plain:
            line = self._shown(None, "", dict(event))
        with contextlib.suppress(OSError, ValueError):  # disk full, reader gone, stream closed
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = _write


class _Logger(structlog.BoundLoggerBase):
    """Lines below the level, which may change at any time, cost next to nothing."""

    _logger: _Pipe

    def debug(self, event: str, *arguments: object, **fields: Any) -> None:
        if self._logger.level <= LEVELS["debug"]:
            self._say("debug", event, arguments, fields)

    def info(self, event: str, *arguments: object, **fields: Any) -> None:
        if self._logger.level <= LEVELS["info"]:
            self._say("info", event, arguments, fields)

    def warning(self, event: str, *arguments: object, **fields: Any) -> None:
        if self._logger.level <= LEVELS["warning"]:
            self._say("warning", event, arguments, fields)

    def error(self, event: str, *arguments: object, **fields: Any) -> None:
        self._say("error", event, arguments, fields)

    def exception(self, event: str, *arguments: object, **fields: Any) -> None:
        self._say("error", event, arguments, {"exc_info": True} | fields)

    def _say(self, level: str, event: str, arguments: tuple[object, ...], fields: dict[str, Any]) -> None:
        self._proxy_to_logger(level, event % arguments if arguments else event, **fields)


class _Library(logging.Handler):
    """Records of standard logging become structlog events."""

    def __init__(self, log: Any) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
            write(record.getMessage(), library=record.name, exc_info=record.exc_info)
        except Exception:
            self.handleError(record)


class Logs:
    """The daemon's log: `log` to write, `ring` to read; what is configured may change while it runs."""

    def __init__(
        self, config: LoggingConfig, stream: TextIO | None = None, state_dir: Path | None = None
    ) -> None:
        """`stream` is stderr by default; in `state_dir` no log is written. InvalidInputError where the file
        cannot be written, or must not be."""
        self.ring = LogRing()
        self.on_failing: Callable[[bool, int], None] = lambda _failing, _lost: None
        """Told when lines begin to be lost to the file, and when that is over. In any thread."""
        self._pipe = _Pipe(stream or sys.stderr, self.ring)
        self._state_dir = state_dir
        self.check(config)
        self.apply(config)
        self.log: Any = structlog.wrap_logger(
            self._pipe,
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                redact,
                _whole,
            ],
            wrapper_class=_Logger,
            cache_logger_on_first_use=True,
        )
        logging.basicConfig(handlers=[_Library(self.log)], level=logging.WARNING, force=True)

    def check(self, config: LoggingConfig) -> None:
        """InvalidInputError where the file cannot be written, or must not be. Changes nothing."""
        check_place(config.file, config.backups, self._state_dir)
        check_file(config.file)

    def apply(self, config: LoggingConfig) -> None:
        """From the next line on."""
        self._pipe.level = LEVELS[config.level]
        self._pipe.style(config.format)
        before, self._pipe.file = self._pipe.file, None
        if config.file:
            self._pipe.file = LogFile(
                config.file, config.max_bytes, config.backups, self._failing, self._file_kept
            )
        if before is not None:
            before.close()
            if before.failing:
                self.on_failing(False, before.lost)

    def _failing(self, failing: bool, lost: int) -> None:
        self.on_failing(failing, lost)

    def _file_kept(self, why: str) -> None:
        if why:
            self.log.warning("the log file cannot be put aside: it goes on growing", error=why)
        else:
            self.log.info("the log file is put aside again when it is full")


def _whole(_logger: Any, _method: str, event: Event) -> tuple[tuple[Event], dict[str, Any]]:
    """The event itself is what the pipe gets: it goes out in several forms."""
    return (event,), {}


def _renderer(form: str, colours: bool) -> Renderer:
    if form == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)
