from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.mix import Queued
from peerd.mix.pool import Pool
from peerd.types import PacketKind, PeerId


def pool(
    minimum: int = 4, rate: float = 0.6, limit: int = 1000, seed: int = 1, interval: float = 1.0
) -> Pool:
    return Pool(interval, minimum, rate, limit, random.Random(seed), 0.0)


@pytest.mark.parametrize(
    ("minimum", "rate", "held", "leave"),
    [
        (4, 0.6, 3, 0),
        (4, 0.6, 4, 0),
        (4, 0.6, 5, 1),  # the minimum stays
        (4, 0.6, 9, 5),  # both: 9 - 4 = floor(5.4)
        (4, 0.6, 10, 6),
        (4, 0.6, 20, 12),  # at most the rate
        (4, 0.1, 5, 1),  # floor(0.5) = 0, but one leaves
        (0, 1.0, 7, 7),
        (0, 0.5, 1, 1),
        (0, 0.5, 7, 3),
    ],
)
def test_how_many_leave(minimum: int, rate: float, held: int, leave: int, make) -> None:
    mix = pool(minimum, rate)
    for _ in range(held):
        mix.push(make(), 0.0)
    assert mix.next_deadline() == (1.0 if leave else None)
    assert len(mix.due(1.0)) == leave
    assert len(mix) == held - leave


def test_the_pool_flushes_until_its_minimum_and_no_further(make, drive) -> None:
    mix = pool()
    for _ in range(30):
        mix.push(make(), 0.0)
    left = Counter(moment for moment, _ in drive(mix, 100.0))
    assert left == {1.0: 18, 2.0: 7, 3.0: 1}
    assert len(mix) == 4
    assert mix.next_deadline() is None


def test_ticks_without_departures_do_not_wait_for_a_packet(make) -> None:
    mix = pool()
    for _ in range(4):
        mix.push(make(), 0.5)
    mix.push(make(), 7.25)
    assert mix.due(7.25) == []
    assert mix.next_deadline() == 8.0


def test_a_minimum_beyond_the_limit_does_not_block_the_mix_node(make) -> None:
    mix = pool(minimum=100, limit=16)
    for _ in range(16):
        assert mix.push(make(), 0.0) is None
    assert len(mix.due(1.0)) == 1


def test_what_leaves_is_drawn_uniformly_and_in_random_order(make, assert_all_orders_equally_likely) -> None:
    """Of 5, 3 leave: 60 ordered draws, all equally likely."""
    orders = []
    for seed in range(12_000):
        mix = pool(minimum=2, seed=seed)
        items = [make() for _ in range(5)]
        for item in items:
            mix.push(item, 0.0)
        orders.append([items.index(departure) for departure in mix.due(1.0)])
    assert_all_orders_equally_likely(orders, 60)


def test_old_and_new_packets_are_equally_likely_to_leave(make) -> None:
    """In a pool that turned over many times, each of 8 places of age has the same chance. Ten seeds
    and one combined p-value (Fisher)."""
    pvalues = []
    for seed in range(10):
        ages: Counter[int] = Counter()
        mix = pool(minimum=0, rate=0.25, seed=seed)
        inside = [make() for _ in range(6)]  # oldest first
        mix.adopt(inside, 0.0)
        for tick in range(1000):
            fresh = [make(), make()]
            mix.adopt(fresh, tick + 0.5)
            inside += fresh
            left = mix.due(tick + 1.0)
            ages.update(inside.index(departure) for departure in left)
            inside = [item for item in inside if item not in left]
        pvalues.append(stats.chisquare([ages[place] for place in range(8)]).pvalue)
    assert stats.combine_pvalues(pvalues).pvalue > 0.01


def test_the_wait_is_the_rest_of_the_interval_and_a_geometric_number_of_rounds(make, relay) -> None:
    """Two packets come in every interval, at uniform moments, so that 8 are held at every tick and 2
    leave, each with probability p = 1/4. So the wait is U + G - 1 intervals with U uniform on
    (0, 1) and G geometric: continuous, and its distribution function is linear between ticks."""
    p = 0.25
    rng = random.Random(3)
    mix = pool(minimum=2, rate=p)
    mix.adopt([make() for _ in range(6)], 0.0)
    moments = sorted(tick + rng.random() for tick in range(5000) for _ in range(2))
    out = relay(mix, [(moment, make()) for moment in moments])
    waits = [moment - item.arrived for moment, item in out if 100.0 < item.arrived < 4900.0]
    assert len(waits) > 9000

    def cdf(wait: float) -> float:
        rounds = math.floor(wait)
        return 1.0 - (1.0 - p) ** rounds * (1.0 - p * (wait - rounds))

    assert stats.kstest(waits, np.vectorize(cdf)).pvalue > 0.01


ROUNDS = [(4, 1), (2, 3), (1, 1), (3, 2)]
"""Packets that come in an interval, and how many leave at its end: 9 or fewer at a time."""


def exact_bits(rounds: list[tuple[int, int]]) -> float:
    """By going through all ways in which packets can leave: of one of the last round's."""
    pools: dict[frozenset[int], float] = {frozenset(): 1.0}
    numbers = itertools.count()
    which: Counter[int] = Counter()
    for come, leave in rounds:
        fresh = frozenset(next(numbers) for _ in range(come))
        which.clear()
        after: Counter[frozenset[int]] = Counter()
        for inside, chance in pools.items():
            ways = list(itertools.combinations(sorted(inside | fresh), leave))
            for way in ways:
                after[(inside | fresh) - frozenset(way)] += chance / len(ways)
                for packet in way:
                    which[packet] += chance / len(ways) / leave
        pools = dict(after)
    return -sum(chance * math.log2(chance) for chance in which.values())


@pytest.mark.parametrize("upto", range(1, len(ROUNDS) + 1))
def test_entropy_equals_the_enumeration_of_a_small_pool(upto: int, make) -> None:
    mix = pool(minimum=0, rate=1.0)
    for tick, (come, leave) in enumerate(ROUNDS[:upto]):
        for _ in range(come):
            mix.push(make(), tick + 0.5)
        mix._leaving = lambda held, leave=leave: leave  # type: ignore[method-assign]
        assert len(mix.due(tick + 1.0)) == leave
    assert mix.entropy_bits == pytest.approx(exact_bits(ROUNDS[:upto]))


def test_entropy_equals_what_many_runs_of_the_pool_show(make) -> None:
    """Three rounds of 5 arrivals in 20,000 pools; the plug-in estimate of so many is good to 0.01."""
    which: Counter[int] = Counter()
    for seed in range(20_000):
        mix = pool(minimum=3, seed=seed)
        items = []
        for tick in range(3):
            fresh = [make() for _ in range(5)]
            items += fresh
            mix.adopt(fresh, tick + 0.5)
            last = mix.due(tick + 1.0)
        which.update(items.index(departure) for departure in last)
    assert mix.entropy_bits == pytest.approx(stats.entropy(list(which.values()), base=2), abs=0.01)
    assert mix.entropy_bits > math.log2(8)  # more than the 8 that are inside: the pool remembers


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 10), st.floats(0.01, 1.0))
def test_entropy_is_at_most_that_of_all_that_ever_came(
    arrivals: list[int], minimum: int, rate: float
) -> None:
    mix, came = pool(minimum, rate), 0
    for tick, count in enumerate(arrivals):
        for _ in range(count):
            mix.push(Queued(b"", PeerId(bytes(16)), PacketKind.OWN, 0.0), tick + 0.5)
        came += count
        if mix.due(tick + 1.0):
            assert -1e-9 <= mix.entropy_bits <= math.log2(came) + 1e-9
