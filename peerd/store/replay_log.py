"""Replay tags on disk: an append-only file that belongs to one mix key.

    magic (8) | SHA-256 of the public mix key, cut to 16 | tag (16) | tag (16) | ...

`append` makes one write() before any of the packets is forwarded. After it returns the tags are in
the kernel's page cache, so they survive `kill -9` of the daemon. Against power loss the file is synced
every `SYNC_EVERY` tags and on close: at most that many of the latest tags can be lost then, and for
those a replay within the same epoch would be forwarded once more.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from peerd.errors import InvalidInputError

MAGIC = b"peerdRT1"
TAG_BYTES = 16
HEAD_BYTES = len(MAGIC) + 16
SYNC_EVERY = 4096
_CHUNK_TAGS = 65_536


class ReplayLog:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._unsynced = 0

    @classmethod
    def open(cls, path: Path, mix_public: bytes) -> ReplayLog:
        """Open or make the log of this key. A log of another key is emptied, a torn tail is cut.

        Raises InvalidInputError when the file is there but is no replay log: losing tags silently
        would open the door to replays.
        """
        head = MAGIC + hashlib.sha256(mix_public).digest()[:16]
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o600)
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be opened: {error.strerror}") from None
        found = os.pread(descriptor, HEAD_BYTES, 0)
        if found[: len(MAGIC)] != MAGIC[: len(found)]:
            os.close(descriptor)
            raise InvalidInputError(
                f"{path}: not a replay log; restore it, or remove it together with the mix key"
            )
        if found != head:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, head)
        size = os.fstat(descriptor).st_size
        os.ftruncate(descriptor, size - (size - HEAD_BYTES) % TAG_BYTES)
        return cls(path, descriptor)

    def tags(self) -> Iterator[bytes]:
        """Every tag in the file, oldest first."""
        offset = HEAD_BYTES
        while chunk := os.pread(self._descriptor, _CHUNK_TAGS * TAG_BYTES, offset):
            offset += len(chunk)
            for start in range(0, len(chunk), TAG_BYTES):
                yield chunk[start : start + TAG_BYTES]

    def append(self, tags: list[bytes]) -> None:
        """Durable against the death of this process when it returns.

        OSError when the disk refuses: the tags are then known to the running filter only.
        """
        data = b"".join(tags)
        before = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, data)
        if written != len(data):  # a full disk may take a part: keep the file a whole number of tags
            os.ftruncate(self._descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._unsynced += len(tags)
        if self._unsynced >= SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def close(self) -> None:
        os.fsync(self._descriptor)
        os.close(self._descriptor)
