from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.sim.announcer import Announcer, announce_interval
from peerd.types import PeerId

A, B, C = (PeerId(bytes([n]) * 16) for n in range(3))
INTERVAL = 4.0


def play(announcer, neighbours, start, end):
    """(moment, peer) of all that is told, called exactly when it asks to be."""
    told = [(start, peer) for peer in announcer.due(neighbours, start)]
    while (deadline := announcer.next_deadline()) is not None and deadline < end:
        told += [(deadline, peer) for peer in announcer.due(neighbours, deadline)]
    return told


@pytest.fixture
def announcer():
    return Announcer(INTERVAL, random.Random(1))


def test_the_interval_is_a_part_of_the_epoch_within_bounds():
    assert announce_interval(80.0) == 10.0
    assert announce_interval(1.0) == 0.25
    assert announce_interval(86_400.0) == 30.0
    for seconds in (1.0, 5.0, 60.0, 3600.0):
        assert announce_interval(seconds) <= seconds / 4  # the next key is heard before it is needed


def test_without_neighbours_there_is_nothing_to_do(announcer):
    assert announcer.due([], 10.0) == []
    assert announcer.next_deadline() is None


def test_each_neighbour_is_told_once_in_every_interval(announcer):
    told = play(announcer, [A, B, C], 100.0, 100.0 + 500 * INTERVAL)
    for peer in (A, B, C):
        numbers = [math.floor((moment - 100.0) / INTERVAL) for moment, to in told if to == peer]
        assert numbers == list(range(500))


def test_the_moments_are_uniform_and_the_neighbours_independent(announcer):
    """Kolmogorov and Smirnov: at 1,000 draws, 1.63 / sqrt(n) is the 1 % bound."""
    count = 1000
    told = play(announcer, [A, B], 0.0, count * INTERVAL)
    moments = {peer: [at % INTERVAL / INTERVAL for at, to in told if to == peer] for peer in (A, B)}
    for of_one in moments.values():
        assert len(of_one) == count
        ordered = sorted(of_one)
        distance = max(max(x - i / count, (i + 1) / count - x) for i, x in enumerate(ordered))
        assert distance < 1.63 / math.sqrt(count)
    pairs = list(zip(moments[A], moments[B], strict=True))
    correlation = 12 * sum((a - 0.5) * (b - 0.5) for a, b in pairs) / count
    assert abs(correlation) < 2.6 / math.sqrt(count)


def test_a_new_neighbour_is_told_in_an_interval_of_its_own(announcer):
    announcer.due([A], 0.0)
    assert announcer.due([A, B], 1.5) in ([], [A])
    told = play(announcer, [A, B], 1.5, 1.5 + INTERVAL)
    assert [to for _, to in told].count(B) == 1


def test_who_is_gone_is_forgotten_and_starts_anew(announcer):
    announcer.due([A, B], 0.0)
    announcer.due([A], 0.0)
    told = play(announcer, [A], 0.0, 40 * INTERVAL)
    assert {to for _, to in told} == {A}
    announcer.due([], 40 * INTERVAL)
    assert announcer.next_deadline() is None
    told = play(announcer, [B], 1000.0, 1000.0 + INTERVAL)
    assert [to for _, to in told] == [B]


@given(st.integers(0, 2**32), st.floats(INTERVAL, 1e6))
def test_after_a_stall_there_is_no_burst(seed, stall):
    """Whatever was missed, a neighbour hears at most what was due and what is due now."""
    announcer = Announcer(INTERVAL, random.Random(seed))
    announcer.due([A, B], 0.0)
    wake = stall
    first = announcer.due([A, B], wake)
    assert sorted(first) == [A, B]
    told = [*first, *announcer.due([A, B], wake), *announcer.due([A, B], wake)]
    assert max(told.count(A), told.count(B)) <= 2
    assert announcer.due([A, B], wake) == []
    later = play(announcer, [A, B], wake, wake + 100 * INTERVAL)
    for peer in (A, B):
        assert 99 <= sum(to == peer for _, to in later) <= 101


def test_asking_too_early_tells_nobody(announcer):
    announcer.due([A, B], 0.0)
    deadline = announcer.next_deadline()
    assert announcer.due([A, B], math.nextafter(deadline, 0.0)) == []
    assert announcer.next_deadline() == deadline
