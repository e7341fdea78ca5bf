from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from peerd.mix import CoverWanted, Queued
from peerd.mix.port import Departure, Strategy
from peerd.types import PacketKind, PeerId

Make = Callable[..., Queued]
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
