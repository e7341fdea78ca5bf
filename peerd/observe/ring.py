"""The latest lines of the log, after redaction, for operators who ask for them over the control API.

Bounded in lines and bytes, whoever reads: a reader holds one batch, and one who is too slow misses the oldest
lines and is told how many. Lines come from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from peerd.clock import Clock, wall
from peerd.status import LogBatch, LogLine

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_LINES = 4_096
MAX_BYTES = 2 << 20
"""Of all lines together."""
MAX_LINE_BYTES = 16 << 10
BATCH_LINES = 128
BATCH_SECONDS = 0.1
"""Lines that come so soon after each other go together: many readers of a busy log cost little."""
_OWN = ("event", "level", "timestamp")


class LogRing:
    def __init__(self, lines: int = MAX_LINES, size: int = MAX_BYTES, clock: Clock = wall) -> None:
        self._lines: deque[LogLine] = deque()
        self._sizes: deque[int] = deque()
        self._max_lines = lines
        self._max_bytes = size
        self._bytes = 0
        self._count = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._readers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, event: Mapping[str, Any]) -> None:
        """A finished line as structlog has it: redacted, with event and level."""
        fields = _encoded({key: value for key, value in event.items() if key not in _OWN})
        what, level = str(event.get("event", "")), str(event.get("level", "info"))
        size = len(fields) + len(what)
        with self._lock:
            self._count += 1
            line = LogLine(number=self._count, at=self._clock(), level=level, event=what, fields=fields)
            self._lines.append(line)
            self._sizes.append(size)
            self._bytes += size
            while len(self._lines) > self._max_lines or (
                self._bytes > self._max_bytes and len(self._lines) > 1
            ):
                self._lines.popleft()
                self._bytes -= self._sizes.popleft()
            readers = list(self._readers.items())
        for woken, loop in readers:
            if not woken.is_set():
                with contextlib.suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(woken.set)

    async def watch(
        self, last: int = 0, level: str = "debug", *, follow: bool = True
    ) -> AsyncIterator[LogBatch]:
        """The latest so many of at least that level (0: all that are remembered), then, with `follow`, what
        comes."""
        least = LEVELS[level]
        seen, end = self._start(last, least)
        woken = asyncio.Event()
        self._readers[woken] = asyncio.get_running_loop()
        try:
            while True:
                woken.clear()
                lines, passed, lost = self._after(seen, least)
                seen += passed
                if lines or lost:
                    yield LogBatch(lines=lines, lost=lost)
                if passed:
                    continue
                if not follow and seen >= end:
                    return
                await woken.wait()
                await asyncio.sleep(BATCH_SECONDS)
        finally:
            del self._readers[woken]

    def _start(self, last: int, least: int) -> tuple[int, int]:
        """The number before the first line to show, and that of the last one there is."""
        with self._lock:
            numbers = [line.number for line in self._lines if LEVELS.get(line.level, 0) >= least]
            shown = numbers[-last:] if last else numbers
            return (shown[0] - 1 if shown else self._count), self._count

    def _after(self, seen: int, least: int) -> tuple[list[LogLine], int, int]:
        """The next few lines after that number; by how many numbers to go on; how many were missed."""
        with self._lock:
            oldest = self._count - len(self._lines)
            lost = max(oldest - seen, 0)
            start = max(seen - oldest, 0)
            batch = list(islice(self._lines, start, start + BATCH_LINES))
        return [line for line in batch if LEVELS.get(line.level, 0) >= least], lost + len(batch), lost


def _encoded(fields: Mapping[str, Any]) -> str:
    """JSON; a line that is too long keeps the beginning of each of its texts."""
    text = msgspec.json.encode(fields)
    if len(text) > MAX_LINE_BYTES:
        room = MAX_LINE_BYTES // (4 * max(len(fields), 1))
        text = msgspec.json.encode({key: str(value)[:room] for key, value in fields.items()})
    return text.decode() if len(text) <= MAX_LINE_BYTES else "{}"
