"""When to tell each neighbour one's own descriptor. Sans-IO.

In every interval each neighbour is told once, at a random moment of its own: an observer who sees one
more cell on a link learns nothing from its time. A rotation of keys changes what is said, never when.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from peerd.clock import earliest
from peerd.types import PeerId

PER_EPOCH = 8
"""A descriptor with the next epoch's key is heard that often before it is needed."""
LONGEST_SECONDS = 30.0
SHORTEST_SECONDS = 0.25


def announce_interval(epoch_seconds: float) -> float:
    """Seconds in which every neighbour is told once."""
    return min(max(epoch_seconds / PER_EPOCH, SHORTEST_SECONDS), LONGEST_SECONDS)


class Announcer:
    def __init__(self, interval: float, rng: random.Random) -> None:
        self._interval = interval
        self._rng = rng
        self._interval_ends: dict[PeerId, float] = {}
        self._next: dict[PeerId, float] = {}

    def due(self, neighbours: Collection[PeerId], now: float) -> list[PeerId]:
        """Whom to tell now. A new neighbour is told in its first interval; who is gone is forgotten."""
        for peer in [known for known in self._next if known not in neighbours]:
            del self._next[peer], self._interval_ends[peer]
        for peer in neighbours:
            if peer not in self._next:
                self._draw(peer, now)
        told = [peer for peer, moment in self._next.items() if moment <= now]
        for peer in told:
            self._draw(peer, max(self._interval_ends[peer], now - self._interval))
        return told

    def next_deadline(self) -> float | None:
        return earliest(*self._next.values())

    def _draw(self, peer: PeerId, start: float) -> None:
        self._interval_ends[peer] = start + self._interval
        self._next[peer] = start + self._rng.random() * self._interval
