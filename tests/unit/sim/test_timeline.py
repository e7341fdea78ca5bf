"""Virtual time: order, and timers that are set anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.sim.timeline import Alarm, Timeline

SETS = st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 30)), max_size=12)
"""(when it is set, to what)"""


def test_what_happens_at_once_happens_in_the_order_it_was_said():
    time, seen = Timeline(), []
    for name in "abc":
        time.at(1.0, lambda name=name: seen.append(name))
    time.at(0.5, lambda: time.at(1.0, lambda: seen.append("d")))
    time.run(1.0)
    assert "".join(seen) == "abcd"


def test_until_is_asked_before_every_event():
    time, seen = Timeline(), []
    for moment in (1.0, 2.0, 3.0):
        time.at(moment, lambda: seen.append(time.now))
    time.run(10.0, until=lambda: len(seen) == 2)
    assert (seen, time.now) == ([1.0, 2.0], 2.0)
    time.run(0.5, until=lambda: False)
    assert time.now == 2.5


@given(SETS)
def test_an_alarm_rings_when_it_was_set_to_last(sets):
    time, rung = Timeline(), []
    alarm = Alarm(time, lambda: rung.append(time.now))
    ordered = sorted(sets, key=lambda one: one[0])
    for moment, when in ordered:
        time.at(moment, lambda when=when: alarm.set(when))
    time.run(100.0)
    expected, due = [], None
    for moment, when in [*ordered, (100, None)]:
        if due is not None and due < moment:
            expected.append(due)
            due = None
        due = None if when is None else max(when, moment)
    # What is set for its own moment rings before it can be set anew.
    assert [moment for moment in rung if moment not in {at for at, _ in sets}] == [
        moment for moment in expected if moment not in {at for at, _ in sets}
    ]
    assert rung == sorted(rung)


def test_an_alarm_that_is_put_off_leaves_nothing_behind():
    time, rung = Timeline(), []
    alarm = Alarm(time, lambda: rung.append(time.now))
    for step in range(1000):
        alarm.set(step + 5.0)
        time.run(1.0)
    assert len(time._events) == 1
    time.run(10.0)
    assert rung == [1004.0]
    assert time._events == []
