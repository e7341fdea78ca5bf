from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.mix import Queued, draw_exponential
from peerd.mix.exponential import Exponential
from peerd.types import DropReason, PacketKind, PeerId


def test_each_packet_leaves_after_the_delay_that_was_asked_for(make, drive) -> None:
    mix = Exponential(limit=10, mean=1.0)
    for delay in (0.3, 0.1, 0.2):
        assert mix.push(make(delay), 100.0) is None
    assert mix.due(100.05) == []
    left = [(moment, item.delay) for moment, item in drive(mix, 200.0)]
    assert left == [(100.1, 0.1), (100.2, 0.2), (100.3, 0.3)]
    assert len(mix) == 0
    assert mix.next_deadline() is None


def test_equal_departure_times_never_compare_packets(make) -> None:
    mix = Exponential(limit=2000, mean=1.0)
    items = [make(0.5) for _ in range(1000)]
    for item in items:
        mix.push(item, 0.0)
    assert mix.due(0.5) == items


def test_a_late_wake_up_releases_what_is_due_in_departure_order(make) -> None:
    mix = Exponential(limit=100, mean=1.0)
    rng = random.Random(4)
    for _ in range(50):
        mix.push(make(rng.random()), 0.0)
    late = mix.due(0.5)
    assert [item.delay for item in late] == sorted(item.delay for item in late)
    assert all(item.delay <= 0.5 for item in late)
    assert len(late) + len(mix) == 50


def test_the_limit_bounds_the_heap(make) -> None:
    mix = Exponential(limit=3, mean=1.0)
    assert [mix.push(make(1.0), 0.0) for _ in range(4)] == [None] * 3 + [DropReason.MIX_QUEUE_FULL]
    assert len(mix) == 3
    assert len(mix.due(1.0)) == 3
    assert mix.push(make(1.0), 1.0) is None


def test_drain_gives_what_remains_of_each_delay(make) -> None:
    mix = Exponential(limit=10, mean=1.0)
    for delay in (0.5, 0.1, 0.3):
        mix.push(make(delay), 10.0)
    held = mix.drain(10.2)
    assert [item.delay for item in held] == pytest.approx([0.0, 0.1, 0.3])
    assert len(mix) == 0
    assert mix.next_deadline() is None


def test_order_is_destroyed_as_an_m_m_infinity_queue_does_it(make) -> None:
    """Of the packets inside, each is the next to leave with the same probability: no memory."""
    rng = random.Random(5)
    ranks: list[int] = []
    for _ in range(3000):
        mix = Exponential(limit=100, mean=1.0)
        items = [make(draw_exponential(rng, 1.0) + 1.0 - i * 0.1) for i in range(10)]
        for i, item in enumerate(items):  # came at different times, all inside at 1.0
            mix.push(item, i * 0.1)
        first = next(d for d in mix.due(mix.next_deadline() or 0.0))
        ranks.append(items.index(first))
    counts = [ranks.count(i) for i in range(10)]
    assert stats.chisquare(counts).pvalue > 0.01


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 5.0)), max_size=60))
def test_nothing_is_lost_early_or_out_of_order(arrivals: list[tuple[float, float]]) -> None:

    mix = Exponential(limit=60, mean=1.0)
    out: list[tuple[float, Queued]] = []

    def wake(now: float) -> None:
        out.extend((now, item) for item in mix.due(now))

    for number, (moment, delay) in enumerate(sorted(arrivals)):
        while (deadline := mix.next_deadline()) is not None and deadline <= moment:
            wake(deadline)
        item = Queued(b"", PeerId(bytes(16)), PacketKind.OWN, delay, number)
        assert mix.push(item, moment) is None
    while (deadline := mix.next_deadline()) is not None:
        wake(deadline)
    assert sorted(item.token for _, item in out) == list(range(len(arrivals)))
    assert all(moment == item.arrived + item.delay for moment, item in out)
    assert [moment for moment, _ in out] == sorted(moment for moment, _ in out)


def test_the_wait_is_exponential_when_the_senders_draw_it_so(make, relay) -> None:
    """From push to departure, as the relay drives it, and not only as drawn."""
    delays = random.Random(8)
    arrivals = [(i * 0.003, make(draw_exponential(delays, 0.05))) for i in range(8000)]
    waits = [moment - item.arrived for moment, item in relay(Exponential(1000, mean=1.0), arrivals)]
    early = [wait for (moment, _), wait in zip(arrivals, waits, strict=False) if moment < 23.0]
    assert stats.kstest(early, stats.expon(scale=0.05).cdf).pvalue > 0.01


def test_entropy_of_packets_that_leave_one_by_one(make) -> None:
    mix = Exponential(10, mean=1.0)
    for delay in (1.0, 2.0, 3.0, 4.0):
        mix.push(make(delay), 0.0)
    assert mix.entropy_bits == 0.0
    mix.due(1.0)
    assert mix.entropy_bits == 2.0
    mix.push(make(9.0), 1.5)  # h(3/4) + 3/4 * 2
    assert mix.due(1.9) == []
    assert mix.entropy_bits == 2.0
    mix.due(2.0)
    assert mix.entropy_bits == pytest.approx(2.3112781)
    mix.due(4.0)  # two leave together: nobody came in between
    assert mix.entropy_bits == pytest.approx(2.3112781)
    mix.due(20.0)
    mix.push(make(1.0), 20.0)  # the pool ran empty
    mix.due(21.0)
    assert mix.entropy_bits == 0.0


def test_entropy_in_the_steady_state_is_that_of_an_exponential_age(poisson, relay) -> None:
    """With 50 packets inside on average, the age of what leaves is exponential: log2(e * 50) bits."""
    delays = random.Random(7)
    mix = Exponential(10_000, mean=1.0)
    bits: list[float] = []
    arrivals = poisson(1000.0, 40_000)
    for moment, item in arrivals:
        item.delay = draw_exponential(delays, 0.05)
        relay(mix, [(moment, item)])
        bits.append(mix.entropy_bits)
    steady = bits[5000:]
    assert sum(steady) / len(steady) == pytest.approx(math.log2(math.e * 50), abs=0.03)


def test_packets_without_a_delay_are_not_mixed_and_mix_nobody(make) -> None:
    mix = Exponential(100, mean=1.0)
    for _ in range(8):
        mix.push(make(1.0), 0.0)
    for _ in range(20):
        mix.push(make(0.0), 0.5)
    assert len(mix.due(0.5)) == 20
    assert mix.entropy_bits == 0.0
    for _ in range(8):
        mix.push(make(0.0), 1.0)
    assert len(mix.due(1.0)) == 16
    assert mix.entropy_bits == pytest.approx(1.5)  # the mean: half of them had 3 bits, half none


def test_adopted_packets_are_new_arrivals(make) -> None:
    old = Exponential(100, mean=1.0)
    for _ in range(9):
        old.push(make(1.0), 0.0)
    old.push(make(0.5), 0.0)
    old.due(0.5)
    new = Exponential(100, mean=1.0)
    new.adopt(old.drain(0.7), 0.7)
    new.due(1.0)
    assert new.entropy_bits == pytest.approx(math.log2(9))
    old.push(make(1.0), 5.0)  # drained, the old one starts afresh
    old.due(6.0)
    assert old.entropy_bits == 0.0


def test_packets_that_ask_for_far_more_than_the_law_gives_are_no_company(make) -> None:
    """A member that keeps many long packets inside knows which they are."""
    mix = Exponential(100, mean=0.05)
    for _ in range(50):
        mix.push(make(9.9), 0.0)
    mix.push(make(0.04), 0.0)
    assert len(mix.due(0.1)) == 1
    assert mix.entropy_bits == 0.0
    mix.push(make(0.04), 0.2)
    mix.push(make(0.05), 0.2)
    assert len(mix.due(0.245)) == 1
    assert mix.entropy_bits == 1.0
    assert len(mix.due(10.0)) == 51
