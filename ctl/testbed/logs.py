"""The daemons' logs: their last lines, and what is added to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ctl.testbed.processes import tail

POLL_SECONDS = 0.2
CHUNK_BYTES = 64 * 1024

Write = Callable[[str, str], None]
"""Called with a peer's name and a line."""


def show(logs: Mapping[str, Path], lines: int, write: Write) -> None:
    for name, path in logs.items():
        for line in tail(path, lines):
            write(name, line)


async def follow(logs: Mapping[str, Path], write: Write) -> None:
    """What is appended from now on, line by line, until cancelled."""
    followers = {name: _Follower(path) for name, path in logs.items()}
    while True:
        for name, follower in followers.items():
            for line in follower.new_lines():
                write(name, line)
        await asyncio.sleep(POLL_SECONDS)


class _Follower:
    """A file's end: bytes after the last line break wait for the rest of their line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:
                    self._position, self._rest = 0, b""  # truncated: a new log
                file.seek(self._position)
                data = file.read(CHUNK_BYTES)
        except OSError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]
