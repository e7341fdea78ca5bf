from __future__ import annotations

import itertools
import random
import statistics
from typing import get_args

import pytest

from peerd.config import MixingConfig, StrategyName
from peerd.mix import Strategy, make_strategy


def build(name: str, now: float = 0.0, **parameters: float) -> Strategy:
    return make_strategy(MixingConfig(strategy=name, **parameters), random.Random(0), now)


@pytest.mark.parametrize("name", get_args(StrategyName))
def test_the_configured_strategy_is_made_with_the_configured_limit(name: str, make) -> None:
    mix = build(name, queue_limit=17)
    assert mix.name == name
    assert mix.entropy_bits == 0.0
    assert [mix.push(make(), 0.0) is None for _ in range(18)] == [True] * 17 + [False]


def test_the_outbox_has_the_configured_size_interval_and_jitter(make, drive, real) -> None:
    mix = build("outbox", 10.0, outbox_size=2, outbox_interval_seconds=0.25, outbox_jitter_seconds=0.0)
    assert mix.next_deadline() == 10.25
    for _ in range(8):
        mix.push(make(), 10.0)
    seen = drive(mix, 30.0)
    assert [moment for moment, _ in seen] == [10.25 + 0.25 * tick for tick in range(80)]
    assert len(real([departure for _, departure in seen[:7]])) == 7  # full: no room for cover

    jittery = build("outbox", outbox_interval_seconds=0.25, outbox_jitter_seconds=0.01)
    moments = [0.0] + [moment for moment, _ in drive(jittery, 50.0)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert statistics.stdev(gaps) == pytest.approx(0.01, rel=0.3)


def test_the_threshold_has_the_configured_size_and_patience(make) -> None:
    mix = build("threshold", threshold_size=5, threshold_patience_seconds=0.5)
    mix.push(make(), 2.0)
    assert mix.next_deadline() == 2.5
    assert len(mix.due(2.5)) == 5


def test_the_timed_mix_has_the_configured_interval(make) -> None:
    mix = build("timed", 10.0, timed_interval_seconds=0.5)
    mix.push(make(), 10.75)
    assert mix.next_deadline() == 11.0


def test_the_pool_has_the_configured_interval_minimum_and_rate(make) -> None:
    mix = build("pool", 10.0, pool_interval_seconds=0.5, pool_minimum=3, pool_rate=0.25)
    for _ in range(12):
        mix.push(make(), 10.75)
    assert mix.next_deadline() == 11.0
    assert [len(mix.due(11.0 + tick)) for tick in range(20)].count(0) > 0
    assert len(mix) == 3


def test_the_first_flush_of_a_pool_is_the_configured_share(make) -> None:
    mix = build("pool", pool_interval_seconds=1.0, pool_minimum=3, pool_rate=0.25)
    for _ in range(12):
        mix.push(make(), 0.0)
    assert len(mix.due(1.0)) == 3
