"""Whole files that somebody names: read within a bound, and only where they are files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from peerd.errors import InvalidInputError, NotFoundError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK means nothing for a file, and keeps the opening of a pipe from waiting."""
_CHUNK = 1 << 20


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """A file of at most `limit` bytes. NotFoundError or InvalidInputError, naming file and purpose; a device,
    which may have no end, or a pipe, at which one may wait, is none.

    What a file says of its size is not trusted: those of /proc have none, and others grow.
    """
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(f"{path}: cannot be read: not a regular file ({what})")
            data = file.read(min(limit, status.st_size) + 1) or b""  # None: the kernel has nothing now
            while len(data) <= limit and (more := file.read(_CHUNK)):
                data += more
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file ({what})") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror} ({what})") from None
    except ValueError:  # a NUL
        raise InvalidInputError(f"{str(path)!r}: not a usable path ({what})") from None
    if len(data) > limit:
        raise InvalidInputError(f"{path}: larger than {limit} bytes; not {what}")
    return data


def read_text(path: Path, limit: int, what: str) -> str:
    """The same of UTF-8."""
    try:
        return read_bounded(path, limit, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error} ({what})") from None
