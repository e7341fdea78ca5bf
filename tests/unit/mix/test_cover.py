from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from peerd.config import MixingConfig
from peerd.mix import CoverSchedule
from peerd.mix.cover import MOST_AT_ONCE
from peerd.types import PacketKind


def config(loop: float, drop: float) -> MixingConfig:
    return MixingConfig(loop_rate_per_second=loop, drop_rate_per_second=drop)


def events(schedule: CoverSchedule, until: float) -> list[tuple[float, PacketKind]]:
    seen = []
    while (moment := schedule.next_deadline()) is not None and moment <= until:
        kinds = schedule.due(moment)
        assert kinds, "woken at its deadline, the schedule has something to send"
        seen += [(moment, kind) for kind in kinds]
    return seen


def test_both_kinds_are_poisson_at_their_own_rates() -> None:
    seen = events(CoverSchedule(config(5.0, 2.0), random.Random(6), 0.0), 1000.0)
    for kind, rate in ((PacketKind.LOOP, 5.0), (PacketKind.DROP, 2.0)):
        moments = [0.0] + [moment for moment, k in seen if k is kind]
        gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert stats.kstest(gaps, stats.expon(scale=1 / rate).cdf).pvalue > 0.01


def test_without_rates_there_is_neither_cover_nor_a_deadline() -> None:
    schedule = CoverSchedule(config(0.0, 0.0), random.Random(7), 0.0)
    assert schedule.next_deadline() is None
    assert schedule.due(1e6) == []


def test_new_rates_hold_from_now_on() -> None:
    schedule = CoverSchedule(config(0.0, 1.0), random.Random(8), 0.0)
    assert all(kind is PacketKind.DROP for _, kind in events(schedule, 50.0))
    schedule.reconfigure(config(20.0, 0.0), 50.0)
    later = events(schedule, 150.0)
    assert all(kind is PacketKind.LOOP and moment > 50.0 for moment, kind in later)
    assert len(later) == pytest.approx(2000, rel=0.1)
    schedule.reconfigure(config(0.0, 0.0), 150.0)
    assert schedule.next_deadline() is None


def test_a_short_stall_loses_no_cover_and_ends_in_no_burst() -> None:
    punctual = CoverSchedule(config(100.0, 0.0), random.Random(9), 0.0)
    late = CoverSchedule(config(100.0, 0.0), random.Random(9), 0.0)
    expected = len(events(punctual, 0.5))
    batches = []
    while batches[-1:] != [0]:
        batches.append(len(late.due(0.5)))
    assert sum(batches) == expected > 2 * MOST_AT_ONCE
    assert max(batches) == MOST_AT_ONCE


def test_after_a_long_sleep_only_the_last_second_is_made_up() -> None:
    schedule = CoverSchedule(config(10.0, 10.0), random.Random(10), 0.0)
    woken = Counter(kind for _ in range(1000) for kind in schedule.due(86_400.0))
    assert 0 < woken[PacketKind.LOOP] < 30
    assert 0 < woken[PacketKind.DROP] < 30


@given(
    st.floats(0.0, 10_000.0),
    st.floats(0.0, 10_000.0),
    st.lists(st.floats(0.0, 100.0), max_size=30),
)
def test_one_call_never_gives_more_than_a_few(loop: float, drop: float, waits: list[float]) -> None:
    schedule = CoverSchedule(config(loop, drop), random.Random(11), 0.0)
    now = 0.0
    for wait in waits:
        now += wait
        counts = Counter(schedule.due(now))
        assert all(count <= MOST_AT_ONCE for count in counts.values())
