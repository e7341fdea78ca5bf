"""A config file of this machine: its text, and everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from peerd.config import read
from peerd.errors import InvalidInputError, PeerdError
from peerd.validation import problems

MAX_BYTES = 1 << 20


def read_text(path: Path) -> str:
    """NotFoundError, InvalidInputError: also for one that is too long to be a config file."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0  # reading it tells why
    if size > MAX_BYTES:
        raise InvalidInputError(f"{path}: a config file has at most {MAX_BYTES} bytes, this one {size}")
    return read(path)


def mistakes(text: str, path: Path) -> list[str]:
    """One line each, with file and key."""
    try:
        return problems(text, str(path))
    except PeerdError as error:
        return [str(error)]
