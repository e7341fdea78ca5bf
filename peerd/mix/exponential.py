"""Stop-and-go mixing: each packet waits for the time that its sender drew for this hop.

Kesdogan, Egner and Bueschkes, "Stop-and-Go-MIXes" (1998), section 3; Loopix (Piotrowska et al.,
2017), section 4.2. With exponential delays the mix is an M/M/infinity queue: which of the packets
inside leaves next does not depend on when each came, since the distribution has no memory.

A late wake-up releases all that is due, in the order of departure times: the delay is the sender's,
and the mix node adds as little as it can.

A packet without a delay leaves at once: it is not mixed, hides among no others and hides none. Nor does
one that asks for far longer than the law of this network gives: with a few of those, which he knows, a
member could fill the meter with company that is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from peerd.mix.entropy import PoolEntropy
from peerd.mix.port import Departure, Queued
from peerd.types import DropReason

PLAUSIBLE_MEANS = 10.0
"""An honest delay is longer than so many means once in 22,000 times."""


class Exponential:
    """A heap of (departure time, sequence, packet); push and release cost O(log n).

    `mean`: of the delays that senders draw, in seconds; only the entropy meter asks.
    """

    name = "exponential"

    def __init__(self, limit: int, mean: float) -> None:
        self._limit = limit
        self._longest = PLAUSIBLE_MEANS * mean
        self._heap: list[tuple[float, int, Queued]] = []
        self._entropy = PoolEntropy()
        self.entropy_bits = 0.0
        self._sequence = 0  # breaks ties: packets themselves are never compared

    def push(self, item: Queued, now: float) -> DropReason | None:
        if len(self._heap) >= self._limit:
            return DropReason.MIX_QUEUE_FULL
        self._hold(item, now)
        return None

    def adopt(self, items: Iterable[Queued], now: float) -> None:
        for item in items:
            self._hold(item, now)

    def _hold(self, item: Queued, now: float) -> None:
        item.arrived = now
        if self._is_mixed(item):
            self._entropy.arrive()
        self._sequence += 1
        heappush(self._heap, (now + item.delay, self._sequence, item))

    def _is_mixed(self, item: Queued) -> bool:
        return 0.0 < item.delay <= self._longest

    def due(self, now: float) -> list[Departure]:
        departures: list[Departure] = []
        mixed = 0
        heap = self._heap
        while heap and heap[0][0] <= now:
            item = heappop(heap)[2]
            mixed += self._is_mixed(item)
            departures.append(item)
        if departures:
            bits = self._entropy.leave(mixed) if mixed else 0.0
            self.entropy_bits = bits * mixed / len(departures)
        return departures

    def next_deadline(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def drain(self, now: float) -> list[Queued]:
        held = [item for _, _, item in sorted(self._heap)]
        self._heap.clear()
        self._entropy.clear()
        for item in held:
            item.delay = item.remaining(now)
        return held

    def __len__(self) -> int:
        return len(self._heap)
