from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.mix import CoverWanted, Queued
from peerd.mix.outbox import BURST, MAX_OWED, Outbox
from peerd.types import DropReason, PacketKind, PeerId


def outbox(
    size: int = 8,
    *,
    interval: float = 0.005,
    deviation: float = 0.002,
    limit: int = 1000,
    seed: int = 1,
) -> Outbox:
    return Outbox(size, interval, deviation, limit, random.Random(seed), 0.0)


def test_emission_is_the_same_to_the_bit_with_and_without_traffic(make, drive) -> None:
    idle, busy = outbox(), outbox()
    for _ in range(500):
        busy.push(make(), 0.0)
    silent, loaded = drive(idle, 5.0), drive(busy, 5.0)
    assert [moment for moment, _ in silent] == [moment for moment, _ in loaded]
    assert all(isinstance(departure, CoverWanted) for _, departure in silent)
    assert sum(not isinstance(departure, CoverWanted) for _, departure in loaded) == 500


def test_gaps_are_truncated_normal_and_one_packet_leaves_at_each(drive) -> None:
    """Twenty seeds and one combined p-value (Fisher), since one seed in a hundred looks odd."""
    expected = stats.truncnorm(-2.5, 2.5, loc=0.005, scale=0.002)
    pvalues = []
    for seed in range(20):
        moments = [0.0] + [moment for moment, _ in drive(outbox(seed=seed), 10.0)]
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert len(gaps) == pytest.approx(2000, rel=0.05)
        assert min(gaps) > 0.0
        pvalues.append(stats.kstest(gaps, expected.cdf).pvalue)
    assert stats.combine_pvalues(pvalues).pvalue > 0.01


def test_a_packet_in_the_box_waits_for_a_geometric_number_of_ticks(make, drive) -> None:
    size = 4
    waits: list[int] = []
    for seed in range(2000):
        mix = outbox(size, seed=seed)
        mix.push(make(), 0.0)
        real = [not isinstance(departure, CoverWanted) for _, departure in drive(mix, 1.0)]
        waits.append(real.index(True) + 1)
    top = 12
    seen = [waits.count(k) for k in range(1, top)] + [sum(k >= top for k in waits)]
    law = stats.geom(1 / size)
    expected = [2000 * float(law.pmf(k)) for k in range(1, top)] + [2000 * float(law.sf(top - 1))]
    assert stats.chisquare(seen, expected).pvalue > 0.01


def test_each_packet_of_a_full_box_is_equally_likely_to_be_next(make, drive) -> None:
    first: Counter[int] = Counter()
    for seed in range(4000):
        mix = outbox(8, seed=seed)
        items = [make() for _ in range(8)]
        for item in items:
            mix.push(item, 0.0)
        first[items.index(drive(mix, 0.0101)[0][1])] += 1
    assert stats.chisquare([first[i] for i in range(8)]).pvalue > 0.01


def test_what_does_not_fit_the_box_queues_and_no_cover_is_sent_meanwhile(make, drive) -> None:
    mix = outbox(4)
    items = [make() for _ in range(40)]
    for item in items:
        mix.push(item, 0.0)
    departures = [departure for _, departure in drive(mix, 2.0)]
    assert all(not isinstance(departure, CoverWanted) for departure in departures[:37])
    assert {id(d) for d in departures if not isinstance(d, CoverWanted)} == set(map(id, items))
    # first come first served into the box: nobody leaves before a slot could have been free for it
    places = {id(departure): place for place, departure in enumerate(departures)}
    assert all(places[id(item)] >= number - 3 for number, item in enumerate(items))


def test_the_limit_counts_box_and_queue(make, drive) -> None:
    mix = outbox(4, limit=16)
    refused = [mix.push(make(), 0.0) for _ in range(17)]
    assert refused == [None] * 16 + [DropReason.MIX_QUEUE_FULL]
    assert len(mix) == 16
    drive(mix, 0.03)
    assert len(mix) < 16
    assert mix.push(make(), 0.03) is None


def test_between_ticks_nothing_leaves_however_often_it_is_asked(make) -> None:
    mix = outbox()
    deadline = mix.next_deadline()
    assert deadline is not None
    for step in range(100):
        mix.push(make(), deadline * step / 100)
        assert mix.due(deadline * step / 100) == []
    assert len(mix.due(deadline)) == 1


@pytest.mark.parametrize("stall", [1, 3, 4, 5, 20, 200])
def test_missed_ticks_are_made_up_without_a_burst(stall: int) -> None:
    interval = 0.005
    mix = outbox(deviation=0.0, interval=interval)
    now = interval * (stall + 0.5)  # the loop was busy over `stall` ticks
    wake_ups = [len(mix.due(now))]
    while len(wake_ups) < stall + 10:
        deadline = mix.next_deadline()
        assert deadline is not None
        assert deadline > now
        now = deadline + 1e-9
        wake_ups.append(len(mix.due(now)))
    assert max(wake_ups) <= BURST
    assert sum(wake_ups) == stall + len(wake_ups) - 1  # every tick has had its packet
    settled = stall // (BURST - 1) + 1
    assert wake_ups[settled:] == [1] * len(wake_ups[settled:])


def test_making_up_does_not_depend_on_how_often_traffic_wakes_the_relay(make) -> None:
    quiet, busy = outbox(), outbox()
    quiet_times, busy_times = [], []
    assert len(quiet.due(0.5)) == len(busy.due(0.5)) == BURST
    for step in range(1, 4000):
        now = 0.5 + step * 0.0005
        busy.push(make(), now)
        busy_times += [now] * len(busy.due(now))
        deadline = quiet.next_deadline()
        if deadline is not None and deadline <= now:
            quiet_times += [now] * len(quiet.due(now))
    assert busy_times == quiet_times


def test_a_host_that_slept_does_not_make_up_for_the_night(drive) -> None:
    mix = outbox()
    now = 8 * 3600.0
    assert len(mix.due(now)) == BURST
    assert now < (mix.next_deadline() or 0.0) <= now + 0.01
    in_two_seconds = len(drive(mix, now + 2.0))
    assert in_two_seconds == pytest.approx(400 + MAX_OWED, rel=0.05)


def test_drain_destroys_the_order_of_box_and_queue(make) -> None:
    places: Counter[int] = Counter()
    for seed in range(3000):
        mix = outbox(4, seed=seed)
        items = [make() for _ in range(10)]
        for item in items:
            mix.push(item, 0.0)
        places[mix.drain(0.0).index(items[-1])] += 1
    assert stats.chisquare([places[place] for place in range(10)]).pvalue > 0.01


def test_drain_gives_up_box_and_queue(make) -> None:
    mix = outbox(4)
    items = [make(delay=1.0) for _ in range(20)]
    for item in items:
        mix.push(item, 2.0)
    held = mix.drain(2.25)
    assert len(mix) == 0
    assert sorted(map(id, held)) == sorted(map(id, items))
    assert all(item.delay == pytest.approx(0.75) for item in held)
    assert isinstance(mix.due(10.0)[0], CoverWanted)  # still a working, empty box


@given(
    st.integers(2, 6),
    st.lists(st.one_of(st.just("push"), st.floats(0.0, 0.05)), max_size=80),
    st.integers(0, 1000),
)
def test_nothing_is_lost_or_duplicated(size: int, steps: list[str | float], seed: int) -> None:

    mix = outbox(size, limit=40, seed=seed)
    now, inside, out = 0.0, set(), []
    for number, step in enumerate(steps):
        if isinstance(step, float):
            now += step
            departures = mix.due(now)
            assert len(departures) <= BURST
            out += [d.token for d in departures if not isinstance(d, CoverWanted)]
        elif mix.push(Queued(b"", PeerId(bytes(16)), PacketKind.ACK, 0.0, number), now) is None:
            inside.add(number)
        else:
            assert len(mix) == 40
        assert len(mix) == len(inside) - len(out)
    out += [item.token for item in mix.drain(now)]
    assert len(out) == len(set(out))
    assert set(out) == inside


def test_entropy_counts_the_packets_in_the_box_not_dummies_and_not_the_queue(make, drive) -> None:
    mix = outbox(8)
    for _ in range(5):  # of 8 slots, 3 have dummies
        mix.push(make(), 0.0)
    drive(mix, 5.0)
    assert mix.entropy_bits == pytest.approx(math.log2(5))
    for _ in range(40):  # 8 in the box, 32 before it, whose order is kept
        mix.push(make(), 5.0)
    mix.due(mix.next_deadline() or 0.0)
    assert mix.entropy_bits == pytest.approx(3.0)
    mix.due(mix.next_deadline() or 0.0)  # one has come in from the queue: h(7/8) + 7/8 * 3
    assert mix.entropy_bits == pytest.approx(0.5435644 + 2.625)


@pytest.mark.parametrize("size", [2, 8, 16])
def test_entropy_of_a_full_box_settles_at_that_of_a_geometric_wait(size: int, make, drive) -> None:
    """A packet stays for a geometric number of ticks, with mean `size`: size * h(1 / size) bits, which
    is more than log2(size) by less than log2(e)."""
    mix = outbox(size, limit=10_000)
    for _ in range(2000):
        mix.push(make(), 0.0)
    drive(mix, 5.0)
    assert mix.entropy_bits == pytest.approx(size * stats.entropy([1 / size, 1 - 1 / size], base=2))
    assert math.log2(size) < mix.entropy_bits < math.log2(size) + math.log2(math.e)


def test_entropy_of_several_ticks_made_up_at_once_is_their_mean(make) -> None:
    mix = outbox(8)
    for _ in range(40):
        mix.push(make(), 0.0)
    assert len(mix.due(1.0)) == BURST
    bits, expected = 3.0, [3.0]
    for _ in range(BURST - 1):
        bits = 3.0 - 7 / 8 * (math.log2(7) - bits)
        expected.append(bits)
    assert mix.entropy_bits == pytest.approx(sum(expected) / BURST)


def test_entropy_is_that_of_the_last_real_packets_and_a_drained_box_starts_afresh(make, drive) -> None:
    mix = outbox(8)
    for _ in range(4):
        mix.push(make(), 0.0)
    assert drive(mix, 5.0)
    assert mix.entropy_bits == pytest.approx(2.0)
    for _ in range(6):
        mix.push(make(), 5.0)
    mix.drain(5.0)
    mix.push(make(), 5.0)
    drive(mix, 10.0)
    assert mix.entropy_bits == 0.0
