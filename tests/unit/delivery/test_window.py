from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.delivery.window import TARGET_SECONDS, Window


def test_it_doubles_in_a_round_trip_while_nothing_queues():
    window = Window(limit=128)
    for expected in (64, 128, 128):
        for _ in range(window.size):
            window.acked(0.05)
        assert window.size == expected


def test_queueing_above_the_target_shrinks_it_and_below_lets_it_grow():
    window = Window(limit=128)
    window.acked(0.05)
    for _ in range(2000):
        window.acked(0.05 + 2 * TARGET_SECONDS)
    assert window.size == 4
    for _ in range(2000):
        window.acked(0.05)
    assert window.size == 128


def test_it_settles_where_queueing_meets_the_target():
    """A mixnet that processes 100 messages a second: what is in flight beyond that queues."""
    window = Window(limit=128)
    window.acked(0.1)
    for _ in range(3000):
        window.acked(0.1 + max(window.size - 10, 0) / 100)
    assert abs((window.size - 10) / 100 - TARGET_SECONDS) < 0.05


def test_a_timeout_halves_it_once_a_second():
    window = Window(limit=128)
    for now in (10.0, 10.1, 10.9):
        window.timed_out(now)
    assert window.size == 16
    window.timed_out(11.0)
    assert window.size == 8


def test_the_base_is_forgotten_when_the_network_has_become_slower():
    window = Window(limit=128)
    window.acked(0.05)
    for _ in range(10_000):
        window.acked(5.0)
    assert window.size > 4


@given(
    st.integers(1, 200),
    st.lists(st.one_of(st.floats(-1.0, 100.0), st.none()), max_size=200),
)
def test_always_within_its_bounds(limit, events):
    window = Window(limit)
    for number, excess in enumerate(events):
        if excess is None:
            window.timed_out(float(number))
        else:
            window.acked(excess)
        assert min(4, limit) <= window.size <= limit


@given(st.lists(st.one_of(st.integers(1, 200), st.floats(-1.0, 100.0), st.none()), max_size=200))
def test_a_limit_that_changes_holds_at_once(events):
    window, limit = Window(128), 128
    for number, event in enumerate(events):
        if isinstance(event, int):
            limit = event
            window.set_limit(limit)
        elif event is None:
            window.timed_out(float(number))
        else:
            window.acked(event)
        assert min(4, limit) <= window.size <= limit
