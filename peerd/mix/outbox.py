"""Constant emission from a shuffled box: one packet every truncated-normal interval, always.

The box has O slots, each with a packet or with cover. At every tick one slot, chosen uniformly by
the CSPRNG, is emptied and its content sent: the packet, or a fresh dummy. Then the slot
is filled from the waiting queue, first come first served, or left empty where nothing waits. This
is the same as to fill the box up with dummies, shuffle it and send the first; but one is made only when its
turn comes, so that it costs nothing while it lies there, and it gives way to a packet that arrives.

An observer sees the same stream whether there is traffic or not. Once in the box a packet waits for
a geometric number of ticks, O on average, so that its place is lost among O others.

When packets come faster than ticks for long, the box fills with packets, cover stops, and the rest
queue before the box: delays then grow with the queue, the rate of emission does not. At the
strategy's limit (box and queue together) packets are refused and counted.

Late wake-ups. Ticks go on by the clock, not by the wake-ups: each is one tick after the one before,
however late the event loop was. Ticks that a busy event loop missed are owed. They are made up with
the next ticks, at most `BURST` packets at each, so that a stall of n ticks is made good within about
n / (BURST - 1) ticks and no more than `BURST` packets ever leave at once. More than `MAX_OWED` ticks
(a host that slept) are not made up. How it is made up depends on the clock alone, not on traffic.

The entropy counts packets in the box alone: the queue before it keeps their order, and dummies are
known as such to the next peer. So it is a lower bound of what an outside observer faces.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

from peerd.mix.entropy import PoolEntropy
from peerd.mix.port import CoverWanted, Departure, Queued
from peerd.mix.sampling import draw_truncated_normal
from peerd.types import DropReason

BURST = 4
MAX_OWED = 256
_COVER = CoverWanted()


class Outbox:
    """`interval` and `deviation` in seconds: mean of the truncated normal, and its deviation."""

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
        self._free = list(range(size))  # slots with cover
        self._waiting: deque[Queued] = deque()
        self._entropy = PoolEntropy()
        self.entropy_bits = 0.0
        self._owed = 0
        self._next = now + self._gap()

    def push(self, item: Queued, now: float) -> DropReason | None:
        if len(self) >= self._limit:
            return DropReason.MIX_QUEUE_FULL
        self._hold(item, now)
        return None

    def adopt(self, items: Iterable[Queued], now: float) -> None:
        for item in items:
            self._hold(item, now)

    def due(self, now: float) -> list[Departure]:
        if self._next > now:
            return []
        self._count_ticks(now)
        count = min(self._owed, BURST)
        self._owed -= count
        bits: list[float] = []
        departures = [self._tick(bits) for _ in range(count)]
        if bits:
            self.entropy_bits = sum(bits) / len(bits)
        return departures

    def next_deadline(self) -> float | None:
        return self._next

    def drain(self, now: float) -> list[Queued]:
        held = [item for item in self._box if item is not None]
        held += self._waiting
        self._rng.shuffle(held)
        self._waiting.clear()
        self._entropy.clear()
        self._free = list(range(len(self._box)))
        self._box = [None] * len(self._box)
        for item in held:
            item.delay = item.remaining(now)
        return held

    def __len__(self) -> int:
        return len(self._box) - len(self._free) + len(self._waiting)

    def _gap(self) -> float:
        return draw_truncated_normal(self._rng, self._interval, self._deviation)

    def _hold(self, item: Queued, now: float) -> None:
        item.arrived = now
        if self._free:
            self._box[self._free.pop()] = item
            self._entropy.arrive()
        else:
            self._waiting.append(item)

    def _count_ticks(self, now: float) -> None:
        while self._next <= now:
            if self._owed >= MAX_OWED:
                self._next = now + self._gap()
                return
            self._owed += 1
            self._next += self._gap()

    def _tick(self, bits: list[float]) -> Departure:
        """Empty one slot and fill it again; the entropy of a real packet goes to `bits`."""
        slot = self._rng.randrange(len(self._box))
        item = self._box[slot]
        if item is None:
            return _COVER
        bits.append(self._entropy.leave(1))
        if self._waiting:
            self._box[slot] = self._waiting.popleft()
            self._entropy.arrive()
        else:
            self._box[slot] = None
            self._free.append(slot)
        return item
