"""When a peer sends of its own accord: independent Poisson processes (Loopix, 4.1) at fixed rates.

Slots of the sender, loops and drops. In a slot of the sender an own message leaves, or a drop where
there is none: when it sends does not show what it has to say.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from peerd.clock import earliest
from peerd.config import MixingConfig
from peerd.mix.sampling import draw_exponential

MOST_AT_ONCE = 4
"""Of one kind in one call: each costs its maker most of a millisecond."""
TURN_SECONDS = 0.02
"""In calls so far apart own messages still come at twice their rate where they have to catch up."""
MAKE_UP_SECONDS = 1.0
"""What is later than this is forgone: a host that slept does not wake with a flood."""


class Slot(StrEnum):
    """What a moment is for."""

    SEND = "send"
    """An own message, or drop cover where there is none."""
    LOOP = "loop"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class CoverRates:
    """Of own sending, in packets per second."""

    send: float
    loop: float
    drop: float

    @property
    def total(self) -> float:
        return self.send + self.loop + self.drop


def cover_rates(config: MixingConfig, cell_bytes: int) -> CoverRates:
    """The rates in force, for packets of `cell_bytes` on the wire: all 0 in direct mode.

    Where they cost more than the budget all are lowered by the same factor. That depends on the
    configuration alone and never on traffic: cover that gave way to traffic, or own messages that
    took the place of loops, would tell an observer when there is traffic.
    """
    if config.direct:
        return CoverRates(0.0, 0.0, 0.0)
    asked = CoverRates(config.send_rate_per_second, config.loop_rate_per_second, config.drop_rate_per_second)
    cost = asked.total * cell_bytes
    budget = config.cover_budget_bytes_per_second
    if budget <= 0.0 or cost <= budget:
        return asked
    share = budget / cost
    return CoverRates(asked.send * share, asked.loop * share, asked.drop * share)


class _Poisson:
    """Exponential gaps, counted from event to event and not from wake-up to wake-up."""

    def __init__(self, rate: float, most_at_once: int, rng: random.Random, now: float) -> None:
        self._rate = rate
        self._most_at_once = most_at_once
        self._rng = rng
        self.next: float | None = None
        self._restart(now)

    def due(self, now: float) -> int:
        count = 0
        if self.next is not None and self.next < now - MAKE_UP_SECONDS:
            self._restart(now - MAKE_UP_SECONDS)
        while self.next is not None and self.next <= now and count < self._most_at_once:
            count += 1
            self.next += draw_exponential(self._rng, 1.0 / self._rate)
        return count

    def _restart(self, moment: float) -> None:
        if self._rate > 0.0:
            self.next = moment + draw_exponential(self._rng, 1.0 / self._rate)


class CoverSchedule:
    """Sans-IO: `due(now)` names the packets to send now; `cell_bytes` is the size of each on the wire.

    The rates hold over short stalls: what was missed comes a few at a time, one call after another
    (`next_deadline` then lies in the past). Own messages come as many at a time as make their rate
    good even in calls that are `TURN_SECONDS` apart, since they carry the traffic itself.
    """

    def __init__(self, config: MixingConfig, cell_bytes: int, rng: random.Random, now: float) -> None:
        self._cell_bytes = cell_bytes
        self._rng = rng
        self.reconfigure(config, now)

    @property
    def rates(self) -> CoverRates:
        """In force, after the budget."""
        return self._rates

    def reconfigure(self, config: MixingConfig, now: float) -> None:
        """New rates from now on. Memoryless, so that starting afresh changes no distribution."""
        self._rates = rates = cover_rates(config, self._cell_bytes)
        sends_at_once = max(MOST_AT_ONCE, math.ceil(2.0 * rates.send * TURN_SECONDS))
        self._processes = {
            Slot.SEND: _Poisson(rates.send, sends_at_once, self._rng, now),
            Slot.LOOP: _Poisson(rates.loop, MOST_AT_ONCE, self._rng, now),
            Slot.DROP: _Poisson(rates.drop, MOST_AT_ONCE, self._rng, now),
        }

    def due(self, now: float) -> list[Slot]:
        """Each slot as often as it is due."""
        return [slot for slot, process in self._processes.items() for _ in range(process.due(now))]

    def next_deadline(self) -> float | None:
        """When `due` has something again; None while all rates are 0."""
        return earliest(*(process.next for process in self._processes.values()))
