"""Timed mixing: whatever came within an interval leaves at its end, in random order (Serjantov,
Dingledine and Syverson, "From a Trickle to a Flood", 2002, section 4).

Flushes stay on a grid that begins with the strategy and that no packet moves. Where nothing would
leave a tick passes unseen. Ticks that a busy event loop missed are not made up: the late flush stands
for them, and the next one is on the grid again.
"""

from __future__ import annotations

import math
import random

from peerd.mix.entropy import PoolEntropy
from peerd.mix.held import Shuffled
from peerd.mix.port import Departure, Queued


class Grid:
    """Moments `interval` seconds apart; `next` is the first that has not passed."""

    def __init__(self, interval: float, now: float) -> None:
        self._origin = now
        self._interval = interval
        self.next = now + interval

    def pass_by(self, now: float) -> None:
        """Go on to the first moment after `now`; counted from the origin, so that no error adds up."""
        if self.next > now:
            return
        ticks = math.floor((now - self._origin) / self._interval) + 1
        while (following := self._origin + ticks * self._interval) <= now:  # rounding
            ticks += 1
        self.next = following


class Timed(Shuffled):
    """`interval` in seconds."""

    name = "timed"

    def __init__(self, interval: float, limit: int, rng: random.Random, now: float) -> None:
        super().__init__(limit, rng)
        self._grid = Grid(interval, now)
        self._entropy = PoolEntropy()

    def due(self, now: float) -> list[Departure]:
        count = self._leaving(len(self._held))
        if count == 0 or self._grid.next > now:
            return []
        self._grid.pass_by(now)
        self.entropy_bits = self._entropy.leave(count)
        return [self._draw() for _ in range(count)]

    def next_deadline(self) -> float | None:
        return self._grid.next if self._leaving(len(self._held)) else None

    def drain(self, now: float) -> list[Queued]:
        self._entropy.clear()
        return super().drain(now)

    def _leaving(self, held: int) -> int:
        """How many of so many packets leave at a tick."""
        return held

    def _hold(self, item: Queued, now: float) -> None:
        if not self._leaving(len(self._held)):
            self._grid.pass_by(now)  # ticks that had nothing to send do not wait for this packet
        self._entropy.arrive()
        super()._hold(item, now)

    def _draw(self) -> Queued:
        """Take one out, uniformly; the last one fills its place."""
        held = self._held
        place = self._rng.randrange(len(held))
        item, held[place] = held[place], held[-1]
        held.pop()
        return item
