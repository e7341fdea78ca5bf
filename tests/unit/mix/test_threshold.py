from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from peerd.mix import CoverWanted
from peerd.mix.threshold import Threshold


def threshold(size: int = 4, patience: float = 0.0, limit: int = 1000, seed: int = 1) -> Threshold:
    return Threshold(size, patience, limit, random.Random(seed))


def test_the_packet_that_fills_a_batch_sends_it(make) -> None:
    mix = threshold()
    items = [make(delay=9.0) for _ in range(4)]
    for second, item in enumerate(items):
        assert mix.next_deadline() is None
        assert mix.due(second) == []
        mix.push(item, float(second))
    assert mix.next_deadline() == 3.0
    assert set(map(id, mix.due(3.0))) == set(map(id, items))
    assert len(mix) == 0
    assert mix.next_deadline() is None


def test_without_patience_a_batch_waits_for_ever(make) -> None:
    mix = threshold()
    for _ in range(3):
        mix.push(make(), 0.0)
    assert mix.due(1e9) == []
    assert mix.next_deadline() is None
    assert len(mix) == 3


def test_an_impatient_batch_is_filled_up_so_long_after_its_first_packet(make, real) -> None:
    mix = threshold(patience=1.5)
    mix.push(make(), 10.0)
    mix.push(make(), 11.4)  # does not begin the patience again
    assert mix.next_deadline() == 11.5
    assert mix.due(11.49) == []
    batch = mix.due(11.5)
    assert len(batch) == 4
    assert len(real(batch)) == 2
    assert mix.next_deadline() is None
    mix.push(make(), 20.0)
    assert mix.next_deadline() == 21.5


def test_cover_and_real_packets_of_a_batch_are_in_random_order(
    make, assert_all_orders_equally_likely
) -> None:
    orders = []
    for seed in range(3000):
        mix = threshold(patience=1.0, seed=seed)
        items = [make(), make()]
        for item in items:
            mix.push(item, 0.0)
        orders.append([9 if isinstance(d, CoverWanted) else items.index(d) for d in mix.due(1.0)])
    assert_all_orders_equally_likely(orders, 12)


def test_all_orders_of_a_batch_are_equally_likely(make, assert_all_orders_equally_likely) -> None:
    mix, orders = threshold(), []
    for second in range(6000):
        items = [make() for _ in range(4)]
        for item in items:
            mix.push(item, float(second))
        orders.append([items.index(departure) for departure in mix.due(float(second))])
    assert_all_orders_equally_likely(orders, 24)


def test_more_than_a_batch_leaves_batch_by_batch_in_the_order_of_arrival(make) -> None:
    mix = threshold(limit=4, patience=5.0)
    items = [make() for _ in range(10)]
    mix.adopt(items, 7.0)
    for first in (0, 4):
        assert mix.next_deadline() == 7.0
        assert set(map(id, mix.due(7.0))) == set(map(id, items[first : first + 4]))
    assert len(mix) == 2
    assert mix.next_deadline() == 12.0


def test_packets_that_come_after_a_full_batch_are_in_the_next(make) -> None:
    mix = threshold(patience=1.0)
    for number in range(6):  # the loop was busy: nobody asked in between
        mix.push(make(), number / 10)
    assert mix.next_deadline() == 0.3
    assert len(mix.due(0.6)) == 4
    assert mix.next_deadline() == 1.4  # the patience of the fifth


def test_a_batch_larger_than_the_limit_does_not_block_the_mix_node(make) -> None:
    mix = threshold(size=100, limit=16)
    assert [mix.push(make(), 0.0) for _ in range(16)] == [None] * 16
    assert len(mix.due(0.0)) == 16


def test_the_wait_of_each_place_in_a_batch_is_erlang(poisson, relay) -> None:
    """Of a batch of 4, the first waits for 3 more arrivals, the second for 2, the last for none."""
    rate, size = 20.0, 4
    waits = [moment - item.arrived for moment, item in relay(threshold(size), poisson(rate, 8000))]
    batches = [sorted(waits[i : i + size], reverse=True) for i in range(0, len(waits), size)]
    assert len(batches) == 2000
    for place in range(size - 1):
        law = stats.gamma(size - 1 - place, scale=1 / rate)
        assert stats.kstest([batch[place] for batch in batches], law.cdf).pvalue > 0.01
    assert all(batch[-1] == 0.0 for batch in batches)


def test_entropy_is_that_of_the_real_packets_of_the_batch(make) -> None:
    mix = threshold(size=8, patience=1.0)
    assert mix.entropy_bits == 0.0
    for real, bits in ((8, 3.0), (5, math.log2(5)), (1, 0.0), (8, 3.0)):
        for _ in range(real):
            mix.push(make(), 0.0)
        assert len(mix.due(1.0)) == 8
        assert mix.entropy_bits == pytest.approx(bits)
