from __future__ import annotations

import itertools

import pytest
from scipy import stats

from peerd.mix.immediate import Immediate
from peerd.types import DropReason


def test_packets_leave_at_once_whatever_delay_was_asked_for(make) -> None:
    mix = Immediate(10)
    item = make(delay=5.0)
    mix.push(item, 3.0)
    assert mix.next_deadline() == 3.0
    assert mix.due(2.9) == []
    assert mix.due(3.0) == [item]
    assert mix.next_deadline() is None
    assert mix.due(99.0) == []


def test_the_wait_is_zero_and_the_order_is_kept(poisson, relay) -> None:
    arrivals = poisson(100.0, 2000)
    out = relay(Immediate(10), arrivals)
    assert [id(item) for _, item in out] == [id(item) for _, item in arrivals]
    # the traffic is passed on as it came
    waits = [moment - item.arrived for moment, item in out]
    assert waits == [0.0] * 2000
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(out)]
    assert stats.kstest(gaps, stats.expon(scale=0.01).cdf).pvalue > 0.01


def test_a_late_wake_up_keeps_the_order_of_arrival(make) -> None:
    mix = Immediate(10)
    items = [make(delay=5.0 - i) for i in range(5)]
    for moment, item in enumerate(items):
        mix.push(item, float(moment))
    assert mix.next_deadline() == 0.0
    assert mix.due(9.0) == items


def test_drain_and_adopt_keep_the_order_and_what_remains_of_the_delay(make) -> None:
    mix = Immediate(2)
    items = [make(delay=1.0), make(delay=0.1)]
    for item in items:
        mix.push(item, 0.0)
    assert mix.push(make(), 0.0) is DropReason.MIX_QUEUE_FULL
    held = mix.drain(0.25)
    assert held == items
    assert [item.delay for item in held] == pytest.approx([0.75, 0.0])
    assert len(mix) == 0
    mix.adopt([*held, make()], 4.0)
    assert len(mix) == 3
    assert mix.due(4.0)[:2] == items


def test_it_hides_nothing(make) -> None:
    mix = Immediate(10)
    for _ in range(8):
        mix.push(make(), 0.0)
    mix.due(0.0)
    assert mix.entropy_bits == 0.0
