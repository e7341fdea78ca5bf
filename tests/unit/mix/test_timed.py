from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from scipy import stats

from peerd.mix.timed import Timed


def timed(interval: float = 0.25, now: float = 0.0, seed: int = 1) -> Timed:
    return Timed(interval, 10_000, random.Random(seed), now)


def test_what_came_leaves_at_the_end_of_the_interval(make) -> None:
    mix = timed(now=10.0)
    items = [make(delay=9.0) for _ in range(5)]
    for number, item in enumerate(items):
        mix.push(item, 10.0 + number * 0.05)
    assert mix.next_deadline() == 10.25
    assert mix.due(10.24) == []
    assert set(map(id, mix.due(10.25))) == set(map(id, items))
    assert len(mix) == 0
    assert mix.next_deadline() is None


@pytest.mark.parametrize("arrival", [0.0, 0.01, 0.2, 0.74, 3.3, 1234.56])
def test_no_arrival_moves_the_grid(arrival: float, make) -> None:
    mix = timed()
    mix.push(make(), arrival)
    deadline = mix.next_deadline()
    assert deadline is not None
    assert arrival < deadline <= arrival + 0.25
    assert deadline % 0.25 == 0.0


def test_a_packet_on_the_tick_of_an_empty_mix_waits_for_the_next(make) -> None:
    mix = timed()
    mix.push(make(), 0.25)
    assert mix.due(0.25) == []
    assert mix.next_deadline() == 0.5


def test_after_a_stall_one_flush_stands_for_the_missed_ones_and_the_grid_goes_on(make) -> None:
    mix = timed()
    mix.push(make(), 0.1)
    mix.push(make(), 7.1)
    assert mix.next_deadline() == 0.25
    assert len(mix.due(7.1)) == 2
    mix.push(make(), 7.12)
    assert mix.due(7.2) == []
    assert mix.next_deadline() == 7.25


def test_the_grid_begins_with_the_strategy(make) -> None:
    mix = timed(now=10.125)
    mix.push(make(), 10.2)
    assert mix.next_deadline() == 10.375
    assert len(mix.due(17.0)) == 1
    mix.push(make(), 17.0)
    assert mix.next_deadline() == 17.125


def test_the_grid_does_not_drift(make) -> None:
    mix = timed(interval=0.1)
    for tick in range(1, 100_001):
        mix.push(make(), (tick - 0.5) * 0.1)
        deadline = mix.next_deadline()
        assert deadline == pytest.approx(tick * 0.1, abs=1e-9)
        assert len(mix.due(deadline)) == 1


def test_all_orders_are_equally_likely(make, assert_all_orders_equally_likely) -> None:
    mix, orders = timed(interval=1.0), []
    for tick in range(6000):
        items = [make() for _ in range(4)]
        for item in items:
            mix.push(item, tick + 0.5)
        orders.append([items.index(departure) for departure in mix.due(tick + 1.0)])
    assert_all_orders_equally_likely(orders, 24)


def test_the_wait_is_uniform_over_the_interval(poisson, relay) -> None:
    out = relay(timed(), poisson(40.0, 8000))
    waits = [moment - item.arrived for moment, item in out]
    assert stats.kstest(waits, stats.uniform(0.0, 0.25).cdf).pvalue > 0.01
    assert len(Counter(moment for moment, _ in out)) == pytest.approx(800, rel=0.05)


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_entropy_is_that_of_the_packets_of_the_interval(count: int, make) -> None:
    mix = timed()
    for tick in range(3):  # nothing is carried over
        for _ in range(count):
            mix.push(make(), tick * 0.25)
        mix.due(tick * 0.25 + 0.25)
        assert mix.entropy_bits == pytest.approx(math.log2(count))
    assert mix.due(99.0) == []
    assert mix.entropy_bits == pytest.approx(math.log2(count))  # of the last that left
