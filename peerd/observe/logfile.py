"""The log in a file that is put aside by size. A disk that refuses loses lines, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import stat
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from peerd.clock import Clock, monotonic
from peerd.errors import InvalidInputError

MODE = 0o600
RETRY_SECONDS = 60.0
"""After that a file that could not be put aside may be."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK means nothing for a file, and keeps the opening of a pipe from waiting."""


class LogFile(RotatingFileHandler):
    """`write` never raises. `on_failing` is told when lines begin to be lost, and when that is over,
    `on_kept` when the file cannot be put aside and goes on growing, and when it could be again."""

    def __init__(
        self,
        path: str,
        max_bytes: int,
        backups: int,
        on_failing: Callable[[bool, int], None],
        on_kept: Callable[[str], None],
        clock: Clock = monotonic,
    ) -> None:
        """`on_failing`: whether, and how many lines so far. `on_kept`: why; empty when that is over. Both in
        the thread that logs, and they may write."""
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8", delay=True)
        self._on_failing = on_failing
        self._on_kept = on_kept
        self._clock = clock
        self._kept = self._kept_told = ""
        self._retry_at = -math.inf
        self._failed = False
        self.failing = False
        self.lost = 0

    def write(self, line: str) -> None:
        self._failed = False
        self.handle(logging.LogRecord("peerd", logging.INFO, "", 0, line, None, None))
        if self._failed != self.failing:
            self.failing = self._failed
            self._on_failing(self.failing, self.lost)
        if bool(self._kept) != bool(self._kept_told):
            self._kept_told = self._kept
            self._on_kept(self._kept)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        return self._clock() >= self._retry_at and bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        """A file that is too long is better than lines that are lost."""
        try:
            super().doRollover()
        except OSError as error:
            self._kept = error.strerror or str(error)
            self._retry_at = self._clock() + RETRY_SECONDS
        else:
            self._kept = ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """The next line opens the file anew: what was not written is not kept, and not written twice."""
        self._failed = True
        self.lost += 1
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()

    def _open(self) -> TextIOWrapper:
        return _opened(Path(self.baseFilename))


def check_file(path: str) -> None:
    """InvalidInputError where lines could not be written there, or the file not be put aside."""
    if not path:
        return
    try:
        _opened(Path(path)).close()
    except OSError as error:
        raise InvalidInputError(f"logging.file: {path} cannot be written: {error.strerror}") from None
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        raise InvalidInputError(
            f"logging.file: {path} cannot be put aside when it is full: this user may not write in {folder}; "
            "name a file in a folder that it may, such as /var/log/peerd"
        )


def _opened(path: Path) -> TextIOWrapper:
    """Readable by the owner alone where it is made; what is there already keeps its mode. Never a device or
    pipe, at which a write may wait."""
    descriptor = os.open(path, _FLAGS, MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", str(path))
    return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8")
