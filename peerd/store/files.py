"""Whole files, written so that a reader sees the old one or the new one and never a part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

Data = bytes | memoryview


def write_atomic(path: Path, data: Data | tuple[Data, ...], mode: int = 0o644) -> None:
    """Temporary file beside it, fsync, rename, fsync of the folder. OSError when the disk refuses. Parts are
    written one after the other: a large one need not be copied to have something before it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            for part in data if isinstance(data, tuple) else (data,):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_secret(path: Path, data: bytes) -> None:
    """Like `write_atomic`, readable by the owner alone at every moment."""
    write_atomic(path, data, 0o600)


def sync_folder(folder: Path) -> None:
    """Names in it are on the disk when this returns. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
