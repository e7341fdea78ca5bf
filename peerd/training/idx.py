"""IDX files (http://yann.lecun.com/exdb/mnist), plain or gzipped: big-endian magic 00 00 08 n, n sizes
of 32 bits, then the bytes. Read as if a stranger had written them.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError

MAX_BYTES = 2**29
"""Of content, ten times MNIST."""
_CHUNK = 2**20
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """An array of `dims` dimensions. Raises InvalidInputError with one line that names the file.

    Memory grows only as content really arrives, so that a header that lies or a gzip bomb costs no
    more than one chunk beyond what the header promises, and never more than MAX_BYTES.
    """
    with reading(path, "IDX file") as file:
        return _parse(file, dims)


@contextmanager
def reading(path: Path, what: str) -> Iterator[BinaryIO | gzip.GzipFile]:
    """A file, plain or gzipped as its first bytes say. What goes wrong in reading it, a ValueError of the
    reader too, is InvalidInputError with one line that names the file and what it should have been."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as file:
                yield file
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InvalidInputError(f"{path}: not a usable {what}: {error}") from None


def _parse(file: BinaryIO | gzip.GzipFile, dims: int) -> NDArray[np.uint8]:
    """Raises ValueError."""
    head = _read(file, 4 + 4 * dims)
    magic, *shape = struct.unpack(f">I{dims}I", head)
    if magic != _UNSIGNED_BYTE << 8 | dims:
        raise ValueError(f"it is not an array of bytes with {dims} dimensions (magic {magic:#010x})")
    size = math.prod(shape)
    if size > MAX_BYTES:
        raise ValueError(f"its header promises {size} bytes; {MAX_BYTES} are allowed")
    content = _read(file, size)
    if file.read(1):
        raise ValueError("it goes on after its last byte")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read(file: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """Exactly `size` bytes, a chunk at a time."""
    content = bytearray()
    while len(content) < size:
        chunk = file.read(min(_CHUNK, size - len(content)))
        if not chunk:
            raise ValueError(f"it ends after {len(content)} of {size} bytes")
        content += chunk
    return content
