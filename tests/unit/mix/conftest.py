from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from scipy import stats

from peerd.mix import CoverWanted, Departure, Queued, Strategy, draw_exponential
from peerd.types import PacketKind, PeerId

Make = Callable[..., Queued]
Arrivals = list[tuple[float, Queued]]
Relay = Callable[[Strategy, Arrivals], Arrivals]
Drive = Callable[[Strategy, float], list[tuple[float, Departure]]]


@pytest.fixture
def make() -> Make:
    """A packet that says by its number which one it is."""
    numbers = itertools.count()

    def queued(delay: float = 0.0, kind: PacketKind = PacketKind.FORWARDED) -> Queued:
        number = next(numbers)
        return Queued(b"%d" % number, PeerId(bytes(16)), kind, delay, number)

    return queued


@pytest.fixture
def drive() -> Drive:
    """Wake a strategy at each of its deadlines until a time; (moment, departure) in order."""

    def run(strategy: Strategy, until: float) -> list[tuple[float, Departure]]:
        seen: list[tuple[float, Departure]] = []
        while (moment := strategy.next_deadline()) is not None and moment <= until:
            departures = strategy.due(moment)
            assert departures, "woken at its deadline, a strategy has something to send"
            seen += [(moment, departure) for departure in departures]
        return seen

    return run


@pytest.fixture
def real() -> Callable[[list[Departure]], list[Queued]]:
    """Without the cover that was asked for."""
    return lambda departures: [d for d in departures if not isinstance(d, CoverWanted)]


@pytest.fixture
def relay() -> Relay:
    """As the relay drives a strategy: wake it at its deadlines and after each push, until the last
    arrival; (moment, packet) in order of departure."""

    def run(strategy: Strategy, arrivals: Arrivals) -> Arrivals:
        out: Arrivals = []

        def wake(moment: float) -> None:
            out.extend((moment, d) for d in strategy.due(moment) if not isinstance(d, CoverWanted))

        for moment, item in arrivals:
            while (deadline := strategy.next_deadline()) is not None and deadline <= moment:
                wake(deadline)
            assert strategy.push(item, moment) is None
            wake(moment)
        return out

    return run


@pytest.fixture
def poisson(make: Make) -> Callable[..., Arrivals]:
    """Arrivals at a rate (packets per second), seeded."""

    def arrivals(rate: float, count: int, seed: int = 1) -> Arrivals:
        gaps = random.Random(seed)
        moments = itertools.accumulate(draw_exponential(gaps, 1.0 / rate) for _ in range(count))
        return [(moment, make()) for moment in moments]

    return arrivals


@pytest.fixture
def assert_all_orders_equally_likely() -> Callable[[Iterable[list[int]], int], None]:
    """Chi-square over all `possible` orders, each of which must have come up."""

    def check(orders: Iterable[list[int]], possible: int) -> None:
        counts = Counter(map(tuple, orders))
        assert len(counts) == possible
        assert stats.chisquare(list(counts.values())).pvalue > 0.01

    return check
