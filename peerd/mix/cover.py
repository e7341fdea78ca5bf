"""When cover traffic is due: two independent Poisson processes, loops and drops (Loopix, 4.1)."""

from __future__ import annotations

import random

from peerd.clock import earliest
from peerd.config import MixingConfig
from peerd.mix.sampling import draw_exponential
from peerd.types import PacketKind

MOST_AT_ONCE = 4
"""Of one kind in one call: each costs its maker most of a millisecond."""
MAKE_UP_SECONDS = 1.0
"""Cover that is later than this is forgone: a host that slept does not wake with a flood."""


class _Poisson:
    """Exponential gaps, counted from event to event and not from wake-up to wake-up."""

    def __init__(self, rate: float, rng: random.Random, now: float) -> None:
        self._rate = rate
        self._rng = rng
        self.next: float | None = None
        self._restart(now)

    def due(self, now: float) -> int:
        count = 0
        if self.next is not None and self.next < now - MAKE_UP_SECONDS:
            self._restart(now - MAKE_UP_SECONDS)
        while self.next is not None and self.next <= now and count < MOST_AT_ONCE:
            count += 1
            self.next += draw_exponential(self._rng, 1.0 / self._rate)
        return count

    def _restart(self, moment: float) -> None:
        if self._rate > 0.0:
            self.next = moment + draw_exponential(self._rng, 1.0 / self._rate)


class CoverSchedule:
    """Sans-IO: `due(now)` names the cover packets to make now.

    The rates hold over short stalls: what was missed comes a few at a time, one call after another
    (`next_deadline` then lies in the past).
    """

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
        """LOOP and DROP, each as often as it is due."""
        return [kind for kind, process in self._processes.items() for _ in range(process.due(now))]

    def next_deadline(self) -> float | None:
        """When `due` has something again; None while both rates are 0."""
        return earliest(*(process.next for process in self._processes.values()))
