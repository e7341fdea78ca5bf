"""Memory that costs nothing where it was not written to, and can be given back in part.

A heap keeps what was freed between things that live on, so a daemon would stay as large as it was when a
round was closed.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Memory:
    """Zeros, so many bytes, at least one. Lives as long as an array over it."""

    def __init__(self, size: int) -> None:
        self._mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def array(self, kind: type[Any]) -> NDArray[Any]:
        """All of it, as numbers of that kind."""
        return np.frombuffer(self._mapped, kind)

    def cut(self, size: int) -> None:
        """What comes after so many bytes is not needed any more, and becomes zeros."""
        begin = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        if begin < len(self._mapped) and hasattr(self._mapped, "madvise"):
            self._mapped.madvise(mmap.MADV_DONTNEED, begin)
