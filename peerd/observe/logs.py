"""structlog to stderr, console or JSON, with redaction. structlog's global configuration stays as it is.

The root of Python's `logging` is global by nature: warnings of libraries (asyncio, grpc) come to it,
and `configure_logging` makes them structlog events in the same pipe. gRPC's C core writes to stderr
by itself; GRPC_VERBOSITY=NONE silences it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import structlog

from peerd.config import LoggingConfig
from peerd.observe.redact import redact


class _Pipe:
    """Where finished lines go. A log that cannot be written never stops the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # disk full, reader gone, stream closed
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = _write


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


def configure_logging(config: LoggingConfig, stream: TextIO | None = None) -> Any:
    """The daemon's logger; `stream` is stderr by default.

    Lines below the configured level cost next to nothing.
    """
    out = stream or sys.stderr
    log = structlog.wrap_logger(
        _Pipe(out),
        processors=_processors(config, out),
        wrapper_class=structlog.make_filtering_bound_logger(config.level),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Library(log)], level=logging.WARNING, force=True)
    return log


def _processors(config: LoggingConfig, out: TextIO) -> list[Callable[..., Any]]:
    renderer: Callable[..., Any]
    if config.format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
        renderer,
    ]
