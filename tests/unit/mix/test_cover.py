from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.config import MixingConfig
from peerd.mix import CoverRates, CoverSchedule, Slot, cover_rates
from peerd.mix.cover import MOST_AT_ONCE, TURN_SECONDS

CELL = 1000
"""Bytes."""


def config(loop: float, drop: float, send: float = 0.0, **others: float) -> MixingConfig:
    return MixingConfig(
        send_rate_per_second=send, loop_rate_per_second=loop, drop_rate_per_second=drop, **others
    )


def scheduled(mixing: MixingConfig, seed: int = 6) -> CoverSchedule:
    return CoverSchedule(mixing, CELL, random.Random(seed), 0.0)


def events(schedule: CoverSchedule, until: float) -> list[tuple[float, Slot]]:
    seen = []
    while (moment := schedule.next_deadline()) is not None and moment <= until:
        kinds = schedule.due(moment)
        assert kinds, "woken at its deadline, the schedule has something to send"
        seen += [(moment, kind) for kind in kinds]
    return seen


def test_all_three_are_poisson_at_their_own_rates() -> None:
    seen = events(scheduled(config(5.0, 2.0, 8.0), 6), 1000.0)
    for kind, rate in ((Slot.SEND, 8.0), (Slot.LOOP, 5.0), (Slot.DROP, 2.0)):
        moments = [0.0] + [moment for moment, k in seen if k is kind]
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert stats.kstest(gaps, stats.expon(scale=1 / rate).cdf).pvalue > 0.01


def test_without_rates_there_is_neither_cover_nor_a_deadline() -> None:
    schedule = scheduled(config(0.0, 0.0), 7)
    assert schedule.next_deadline() is None
    assert schedule.due(1e6) == []


def test_new_rates_hold_from_now_on() -> None:
    schedule = scheduled(config(0.0, 1.0), 8)
    assert all(kind is Slot.DROP for _, kind in events(schedule, 50.0))
    schedule.reconfigure(config(20.0, 0.0), 50.0)
    later = events(schedule, 150.0)
    assert all(kind is Slot.LOOP and moment > 50.0 for moment, kind in later)
    assert len(later) == pytest.approx(2000, rel=0.1)
    schedule.reconfigure(config(0.0, 0.0), 150.0)
    assert schedule.next_deadline() is None


def test_a_short_stall_loses_no_cover_and_ends_in_no_burst() -> None:
    punctual = scheduled(config(100.0, 0.0), 9)
    late = scheduled(config(100.0, 0.0), 9)
    expected = len(events(punctual, 0.5))
    batches = []
    while batches[-1:] != [0]:
        batches.append(len(late.due(0.5)))
    assert sum(batches) == expected > 2 * MOST_AT_ONCE
    assert max(batches) == MOST_AT_ONCE


def test_after_a_long_sleep_only_the_last_second_is_made_up() -> None:
    schedule = scheduled(config(10.0, 10.0), 10)
    woken = Counter(kind for _ in range(1000) for kind in schedule.due(86_400.0))
    assert 0 < woken[Slot.LOOP] < 30
    assert 0 < woken[Slot.DROP] < 30


@given(
    st.floats(0.0, 10_000.0),
    st.floats(0.0, 10_000.0),
    st.lists(st.floats(0.0, 100.0), max_size=30),
)
def test_one_call_never_gives_more_than_a_few(loop: float, drop: float, waits: list[float]) -> None:
    schedule = scheduled(config(loop, drop), 11)
    now = 0.0
    for wait in waits:
        now += wait
        counts = Counter(schedule.due(now))
        assert all(count <= MOST_AT_ONCE for count in counts.values())


# -- slots of the sender -----------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0.001, 0.005, 0.01, TURN_SECONDS])
@pytest.mark.parametrize("rate", [1.0, 50.0, 1000.0, 10_000.0])
def test_turns_some_milliseconds_apart_keep_the_rate_of_sending(rate: float, turn: float) -> None:
    """Called once a turn and no more, as a loop does that is busy all the time."""
    schedule, seconds = scheduled(config(0.0, 0.0, rate)), 20.0
    sent = sum(len(schedule.due(step * turn)) for step in range(1, round(seconds / turn) + 1))
    assert abs(sent - rate * seconds) < 4.0 * math.sqrt(rate * seconds)


def test_sending_catches_up_after_a_stall_without_one_large_burst() -> None:
    schedule = scheduled(config(0.0, 0.0, 1000.0))
    assert len(schedule.due(0.5)) == 40  # twice what comes in a turn
    turns = [len(schedule.due(0.5 + step * TURN_SECONDS)) for step in range(1, 60)]
    assert max(turns) == 40
    assert turns[:20] == [40] * 20
    assert sum(turns[-20:]) == pytest.approx(400, rel=0.2)  # settled


def test_many_sends_do_not_put_more_loops_and_drops_into_a_call() -> None:
    schedule = scheduled(config(1000.0, 1000.0, 1000.0))
    counts = Counter(schedule.due(0.5))
    assert counts == {Slot.SEND: 40, Slot.LOOP: MOST_AT_ONCE, Slot.DROP: MOST_AT_ONCE}


# -- rates and budget --------------------------------------------------------------------------


def test_without_a_budget_the_rates_are_those_of_the_configuration() -> None:
    assert cover_rates(config(1.0, 2.0, 3.0), 10**9) == CoverRates(send=3.0, loop=1.0, drop=2.0)


@pytest.mark.parametrize(("budget", "share"), [(6000.0, 1.0), (6001.0, 1.0), (3000.0, 0.5), (60.0, 0.01)])
def test_above_the_budget_all_rates_are_lowered_alike(budget: float, share: float) -> None:
    rates = cover_rates(config(1.0, 2.0, 3.0, cover_budget_bytes_per_second=budget), 1000)
    assert (rates.send, rates.loop, rates.drop) == pytest.approx((3.0 * share, share, 2.0 * share))
    assert rates.total * 1000 == pytest.approx(min(budget, 6000.0))


@given(st.floats(0.0, 1e4), st.floats(0.0, 1e4), st.floats(0.0, 1e4), st.floats(1e-3, 1e12))
def test_the_budget_is_never_exceeded(send: float, loop: float, drop: float, budget: float) -> None:
    rates = cover_rates(config(loop, drop, send, cover_budget_bytes_per_second=budget), CELL)
    assert rates.total * CELL <= budget * (1.0 + 1e-9)


def test_direct_mode_has_neither_cover_nor_slots() -> None:
    direct = config(1.0, 2.0, 3.0, direct=True)
    assert cover_rates(direct, CELL) == CoverRates(0.0, 0.0, 0.0)
    schedule = scheduled(direct)
    assert schedule.next_deadline() is None
    assert schedule.due(100.0) == []


def test_the_schedule_tells_and_keeps_the_lowered_rates() -> None:
    schedule = scheduled(config(10.0, 20.0, 30.0))
    assert schedule.rates == CoverRates(send=30.0, loop=10.0, drop=20.0)
    schedule.reconfigure(config(10.0, 20.0, 30.0, cover_budget_bytes_per_second=6000.0), 0.0)
    assert schedule.rates == CoverRates(send=3.0, loop=1.0, drop=2.0)
    counts = Counter(kind for _, kind in events(schedule, 1000.0))
    assert counts[Slot.SEND] == pytest.approx(3000, rel=0.1)
    assert counts[Slot.LOOP] == pytest.approx(1000, rel=0.1)
    assert counts[Slot.DROP] == pytest.approx(2000, rel=0.1)
