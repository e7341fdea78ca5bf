"""What strategies that simply hold packets have in common: the limit, and giving everything up."""

from __future__ import annotations

import random
from collections.abc import Iterable

from peerd.mix.port import Queued
from peerd.types import DropReason


class Held:
    """Packets in order of arrival, at most `limit` by `push`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[Queued] = []
        self.entropy_bits = 0.0

    def push(self, item: Queued, now: float) -> DropReason | None:
        if len(self._held) >= self._limit:
            return DropReason.MIX_QUEUE_FULL
        self._hold(item, now)
        return None

    def adopt(self, items: Iterable[Queued], now: float) -> None:
        for item in items:
            self._hold(item, now)

    def drain(self, now: float) -> list[Queued]:
        held, self._held = self._held, []
        for item in held:
            item.delay = item.remaining(now)
        return held

    def __len__(self) -> int:
        return len(self._held)

    def _hold(self, item: Queued, now: float) -> None:
        item.arrived = now
        self._held.append(item)


class Shuffled(Held):
    """The same with a CSPRNG: packets are given up in random order."""

    def __init__(self, limit: int, rng: random.Random) -> None:
        super().__init__(limit)
        self._rng = rng

    def drain(self, now: float) -> list[Queued]:
        held = super().drain(now)
        self._rng.shuffle(held)
        return held
