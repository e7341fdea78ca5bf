"""Constant emission from a shuffled box: one packet every truncated-normal interval, always.

The box has O slots, each with a packet or with cover. At every tick one slot, chosen uniformly by
the CSPRNG, is emptied and its content sent: the packet, or a fresh drop-cover packet. Then the slot
is filled from the waiting queue, first come first served, or with cover where nothing waits. Which
is the same as to fill the box up, shuffle it and send the first; but a slot's cover is made only when
its turn comes, so that it costs nothing while it lies there.

An observer sees the same stream whether there is traffic or not. A packet waits for O ticks on
average once it is in the box, and a geometric number of them, so its order is lost among O others.
When packets come faster than ticks, they queue before the box, bounded by the strategy's limit.

Late wake-ups: if the event loop was busy over several ticks, the slots that were missed are sent at
once but at most `CATCH_UP` of them; the rest are forgone and the clock starts afresh. So the rate
holds over short stalls, and a long one does not end in a burst.
"""

from __future__ import annotations

import random
from collections import deque

from peerd.mix.port import CoverWanted, Departure, Queued
from peerd.mix.sampling import draw_truncated_normal
from peerd.types import DropReason

CATCH_UP = 8
COVER = CoverWanted()


class Outbox:
    name = "outbox"

    def __init__(
        self,
        size: int,
        interval: float,
        deviation: float,
        limit: int,
        rng: random.Random,
        now: float,
    ) -> None:
        self._interval = interval
        self._deviation = deviation
        self._limit = limit
        self._rng = rng
        self._box: list[Queued | None] = [None] * size
        self._empty = list(range(size))
        self._waiting: deque[Queued] = deque()
        self._next = now + self._gap()

    def _gap(self) -> float:
        return draw_truncated_normal(self._rng, self._interval, self._deviation)

    def push(self, item: Queued, now: float) -> DropReason | None:
        if len(self) >= self._limit:
            return DropReason.MIX_QUEUE_FULL
        if self._empty:
            self._box[self._empty.pop()] = item
        else:
            self._waiting.append(item)
        return None

    def due(self, now: float) -> list[Departure]:
        departures: list[Departure] = []
        while self._next <= now:
            if len(departures) == CATCH_UP:
                self._next = now + self._gap()
                break
            departures.append(self._tick())
            self._next += self._gap()
        return departures

    def _tick(self) -> Departure:
        slot = self._rng.randrange(len(self._box))
        item = self._box[slot]
        if item is None:
            return COVER
        if self._waiting:
            self._box[slot] = self._waiting.popleft()
        else:
            self._box[slot] = None
            self._empty.append(slot)
        return item

    def next_deadline(self) -> float | None:
        return self._next

    def drain(self, now: float) -> list[Queued]:
        held = [item for item in self._box if item is not None]
        self._rng.shuffle(held)
        held += self._waiting
        self._waiting.clear()
        self._empty = list(range(len(self._box)))
        self._box = [None] * len(self._box)
        for item in held:
            item.delay = 0.0  # it has waited here; no remainder is known
        return held

    def __len__(self) -> int:
        return len(self._box) - len(self._empty) + len(self._waiting)
