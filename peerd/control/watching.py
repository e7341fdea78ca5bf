"""One snapshot again and again, for any number of watchers.

All who watch at the same interval get the same snapshot at the same moment: one wake-up writes to all of
their connections. That costs a tenth of answering each when it asks (`tests/bench/watchers.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from peerd.clock import Clock, monotonic, next_tick, wall
from peerd.errors import InvalidInputError

T = TypeVar("T")
LEAST_SECONDS = 0.2
MOST_SECONDS = 86_400.0
SHARED_SECONDS = 0.05
"""So old may be what a watcher gets: less than anybody sees, more than writing to all of them takes."""


class Watching(Generic[T]):
    """Of what `look` makes."""

    def __init__(self, look: Callable[[], T], clock: Clock = monotonic) -> None:
        self._look = look
        self._clock = clock
        self._seen: T | None = None
        self._seen_at = -math.inf

    def now(self) -> T:
        """As it is, or was a moment ago."""
        at = self._clock()
        if self._seen is None or at - self._seen_at > SHARED_SECONDS:
            self._seen, self._seen_at = self._look(), at
        return self._seen

    async def every(self, interval: float) -> AsyncIterator[T]:
        """At once, then at each multiple of so many seconds. InvalidInputError for another interval."""
        if not LEAST_SECONDS <= interval <= MOST_SECONDS:  # a NaN is not, either
            raise InvalidInputError(
                f"interval_seconds: {interval:g} is not from {LEAST_SECONDS:g} to {MOST_SECONDS:,.0f}"
            )
        yield self.now()
        tick = 0
        while True:
            at = wall()
            tick = next_tick(tick, at, interval)
            await asyncio.sleep(tick * interval - at)
            yield self.now()
