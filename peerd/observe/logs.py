"""structlog to stderr, console or JSON, with redaction. No global configuration is touched.

What looks secret never reaches a line, whoever passes it: keys by name, and every bytes value,
since bytes in this program are keys, tags, SURBs and packets.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from peerd.config import LoggingConfig

_SECRET = re.compile(r"key|secret|private|token|passw|surb|tag\b|seed|cookie|packet", re.IGNORECASE)
MAX_VALUE = 2000
REDACTED = "[redacted]"

Event = MutableMapping[str, Any]


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """structlog processor: hide what is secret, cut what is long. Looks into containers too."""
    for name, value in event.items():
        if name != "event":
            event[name] = REDACTED if _SECRET.search(name) else _clean(value)
        else:
            event[name] = _clean(value)
    return event


def _clean(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return REDACTED
    if isinstance(value, Mapping):
        return {
            k: REDACTED if isinstance(k, str) and _SECRET.search(k) else _clean(v) for k, v in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if isinstance(value, str):
        return value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "..."
    if isinstance(value, BaseException):
        return _clean(f"{type(value).__name__}: {value}")
    return value


def configure_logging(config: LoggingConfig, stream: TextIO | None = None) -> Any:
    """The daemon's logger. Warnings of libraries (asyncio, grpc) come through the same pipe."""
    out = stream or sys.stderr
    level = logging.getLevelName(config.level.upper())
    console = structlog.dev.ConsoleRenderer(colors=out.isatty())
    renderer = structlog.processors.JSONRenderer() if config.format == "json" else console
    processors: list[Callable[..., Any]] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
        renderer,
    ]
    log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward(log)], level=logging.WARNING, force=True)
    return log


class _Forward(logging.Handler):
    """Standard logging's records become structlog events."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(record.getMessage(), library=record.name)
