"""Replay tags on disk: an append-only file that belongs to one mix key.

    magic (8) | SHA-256 of the public mix key, cut to 16 | tag (16) | tag (16) | ...

`append` makes one write() before any of the packets is forwarded. After it returns the tags are in
the kernel's page cache, so they survive `kill -9` of the daemon. They need not survive the kernel: no
mix key does (`store.mixkeys`), so there is no fsync on the way of a packet.

A log that lacks a tag must not be used again: `discard` empties and removes it, as far as the disk lets us.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from peerd.errors import InvalidInputError

MAGIC = b"peerdRT1"
TAG_BYTES = 16
HEAD_BYTES = len(MAGIC) + 16
_CHUNK_TAGS = 65_536


class ReplayLog:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, mix_public: bytes) -> ReplayLog:
        """Make the log of a new key. OSError where the disk refuses or a file is there."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o600)
        log = cls(path, descriptor)
        try:
            log._write(_head(mix_public))
        except OSError:
            log.close()
            raise
        return log

    @classmethod
    def open(cls, path: Path, mix_public: bytes) -> ReplayLog:
        """Open the log of a known key; a torn tail is cut.

        Raises InvalidInputError where it is missing, or is not this key's log from its first byte on:
        without its tags a key must not be used again.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_APPEND)
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be opened: {error.strerror}") from None
        log = cls(path, descriptor)
        try:
            log._check(mix_public)
        except InvalidInputError:
            log.close()
            raise
        except OSError as error:
            log.close()
            raise InvalidInputError(f"{path}: cannot be used: {error.strerror}") from None
        return log

    def tags(self) -> Iterator[bytes]:
        """Every tag in the file, oldest first. OSError where it cannot be read to its end."""
        offset = HEAD_BYTES
        while chunk := os.pread(self._descriptor, _CHUNK_TAGS * TAG_BYTES, offset):
            offset += len(chunk)
            for start in range(0, len(chunk), TAG_BYTES):
                yield chunk[start : start + TAG_BYTES]

    def append(self, tags: list[bytes]) -> None:
        """Durable against the death of this process when it returns.

        OSError when the disk refuses: some tags may then be missing, and the log is worth nothing.
        """
        self._write(b"".join(tags))

    def discard(self) -> bool:
        """Make the file worth nothing to `open`, by its descriptor and by its name: whether either worked.

        Twice, since one may be possible without the other: a full disk still lets files be emptied, a file
        that may only grow be removed.
        """
        done = False
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            done = True
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            done = True
        return done

    def close(self) -> None:
        """Never raises: what close() may still complain of was written, or was told by `append`."""
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _check(self, mix_public: bytes) -> None:
        if os.pread(self._descriptor, HEAD_BYTES, 0) != _head(mix_public):
            raise InvalidInputError(f"{self._path}: not the replay log of this mix key")
        size = os.fstat(self._descriptor).st_size
        torn = (size - HEAD_BYTES) % TAG_BYTES
        if torn:
            os.ftruncate(self._descriptor, size - torn)

    def _write(self, data: bytes) -> None:
        if os.write(self._descriptor, data) != len(data):  # a full disk may take a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))


def _head(mix_public: bytes) -> bytes:
    return MAGIC + hashlib.sha256(mix_public).digest()[:16]
