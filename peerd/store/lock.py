"""One daemon for one state directory: two with the same keys would each spoil the other's replay log."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from peerd.errors import ConflictError, NotFoundError


class StateLock:
    """flock on `DIR/lock`; the kernel lets it go when the process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._descriptor: int | None = None

    def __enter__(self) -> StateLock:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NotFoundError(
                f"{self._path.parent}: not a usable state directory: {error.strerror}; "
                "make one with `peerd init`"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConflictError(
                f"{self._path.parent}: another peerd runs with this state directory"
            ) from None
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
