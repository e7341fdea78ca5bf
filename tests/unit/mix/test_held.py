"""What threshold, timed and pool mixes share."""

from __future__ import annotations

import random

import pytest

from peerd.mix.held import Shuffled
from peerd.mix.pool import Pool
from peerd.mix.threshold import Threshold
from peerd.mix.timed import Timed
from peerd.types import DropReason

BUILD = {
    "threshold": lambda limit, seed=1: Threshold(100, 0.0, limit, random.Random(seed)),
    "timed": lambda limit, seed=1: Timed(1.0, limit, random.Random(seed), 0.0),
    "pool": lambda limit, seed=1: Pool(1.0, 4, 0.6, limit, random.Random(seed), 0.0),
}
pytestmark = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)


def test_the_limit_bounds_pushes_but_not_adoption(build, make) -> None:
    mix = build(3)
    assert [mix.push(make(), 0.0) for _ in range(4)] == [None] * 3 + [DropReason.MIX_QUEUE_FULL]
    mix.adopt([make(), make()], 0.0)
    assert len(mix) == 5
    assert mix.push(make(), 0.0) is DropReason.MIX_QUEUE_FULL


def test_drain_gives_everything_with_what_remains_of_each_delay(build, make) -> None:
    mix = build(10)
    items = [make(delay=delay) for delay in (0.5, 0.1, 0.3)]
    for item in items:
        mix.push(item, 10.0)
    held = mix.drain(10.2)
    assert set(map(id, held)) == set(map(id, items))
    assert [item.delay for item in items] == pytest.approx([0.3, 0.0, 0.1])
    assert len(mix) == 0
    assert mix.next_deadline() is None
    assert mix.due(99.0) == []


def test_drain_gives_up_packets_in_any_order_alike(build, make, assert_all_orders_equally_likely) -> None:
    orders = []
    for seed in range(3000):
        mix: Shuffled = build(10, seed)
        items = [make() for _ in range(4)]
        for item in items:
            mix.push(item, 0.0)
        orders.append([items.index(item) for item in mix.drain(0.5)])
    assert_all_orders_equally_likely(orders, 24)


def test_what_is_taken_in_after_a_drain_starts_afresh(build, make) -> None:
    mix = build(1000)
    for _ in range(300):
        mix.push(make(), 0.0)
    mix.drain(0.5)
    for _ in range(100):
        mix.push(make(), 0.5)
    assert mix.due(1.0)
    assert mix.entropy_bits == pytest.approx(6.6438562)  # log2(100)
