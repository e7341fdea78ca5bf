"""When cover traffic is due: two independent Poisson processes, loops and drops (Loopix, 4.1)."""

from __future__ import annotations

import random

from peerd.clock import earliest
from peerd.config import MixingConfig
from peerd.mix.sampling import draw_exponential
from peerd.types import PacketKind

CATCH_UP = 8
"""Most packets of one kind in one call: after a stall the rest are forgone, never a burst."""


class _Poisson:
    def __init__(self, rate: float, rng: random.Random, now: float) -> None:
        self.rate = rate
        self._rng = rng
        self.next: float | None = self._after(now)

    def _after(self, moment: float) -> float | None:
        return moment + draw_exponential(self._rng, 1.0 / self.rate) if self.rate > 0.0 else None

    def due(self, now: float) -> int:
        count = 0
        while self.next is not None and self.next <= now:
            if count == CATCH_UP:
                self.next = self._after(now)
                break
            count += 1
            self.next = self._after(self.next)
        return count


class CoverSchedule:
    """Sans-IO: `due(now)` names the cover packets to make now."""

    def __init__(self, config: MixingConfig, rng: random.Random, now: float) -> None:
        self._rng = rng
        self.reconfigure(config, now)

    def reconfigure(self, config: MixingConfig, now: float) -> None:
        """New rates from now on. Memoryless, so that starting afresh changes no distribution."""
        self._processes = {
            PacketKind.LOOP: _Poisson(config.loop_rate_per_second, self._rng, now),
            PacketKind.DROP: _Poisson(config.drop_rate_per_second, self._rng, now),
        }

    def due(self, now: float) -> list[PacketKind]:
        return [kind for kind, process in self._processes.items() for _ in range(process.due(now))]

    def next_deadline(self) -> float | None:
        return earliest(*(process.next for process in self._processes.values()))
