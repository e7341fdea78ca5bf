from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.clock import next_tick

TIMES = st.floats(0, 4e9)
INTERVALS = st.floats(0.2, 86_400.0)


@given(TIMES, INTERVALS)
def test_a_tick_is_the_next_multiple(now: float, interval: float) -> None:
    tick = next_tick(0, now, interval)
    assert (tick - 1) * interval <= now * (1 + 1e-12)
    assert now <= tick * interval * (1 + 1e-12)


@given(TIMES, INTERVALS, st.floats(0, 0.01))
def test_a_timer_that_ends_too_soon_makes_no_tick_twice(now: float, interval: float, early: float) -> None:
    tick = next_tick(0, now, interval)
    woken = max(tick * interval - early, now)
    assert next_tick(tick, woken, interval) == tick + 1


@given(TIMES, INTERVALS, st.floats(0, 1e6))
def test_a_clock_that_is_set_back_is_followed(now: float, interval: float, back: float) -> None:
    tick = next_tick(0, now, interval)
    earlier = max(now - back, 0.0)
    wait = next_tick(tick, earlier, interval) * interval - earlier
    assert wait <= 2 * interval * (1 + 1e-9)
