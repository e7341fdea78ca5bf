"""One process for one directory.

Two daemons with the same keys would each spoil the other's replay log; of two enrolments at once one
would be forgotten.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from peerd.errors import ConflictError, NotFoundError


class StateLock:
    """flock on `DIR/lock`; the kernel lets it go when the process ends, however it ends."""

    def __init__(self, directory: Path, busy: str = "another peerd runs with this state directory") -> None:
        """`busy` ends the line that ConflictError says when another process holds the lock."""
        self._path = directory / "lock"
        self._busy = busy
        self._descriptor: int | None = None

    def __enter__(self) -> StateLock:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NotFoundError(
                f"{self._path.parent}: not a usable directory: {error.strerror}; "
                "a state directory is made with `peerd init`"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConflictError(f"{self._path.parent}: {self._busy}") from None
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
