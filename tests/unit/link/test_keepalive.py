from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.link import Backoff, Keepalive
from peerd.link.keepalive import Watchdog
from peerd.link.throttle import Throttle

INTERVAL, DEAD_AFTER = 1.0, 4.0
MOST_UNANSWERED = 10


def test_the_first_ping_is_due_at_once_and_then_every_interval():
    keepalive = Keepalive(INTERVAL, DEAD_AFTER, now=10.0)
    assert keepalive.next_deadline() == 10.0
    assert keepalive.ping(10.0) is not None
    assert keepalive.ping(10.5) is None
    assert keepalive.next_deadline() == 11.0
    assert keepalive.ping(11.0) is not None


def test_round_trips_are_smoothed():
    keepalive = Keepalive(INTERVAL, DEAD_AFTER, now=0.0)
    assert keepalive.rtt is None
    assert keepalive.pong(keepalive.ping(0.0), 0.2)
    assert keepalive.rtt == pytest.approx(0.2)
    assert keepalive.pong(keepalive.ping(1.0), 2.0)
    assert keepalive.rtt == pytest.approx(0.2 * 7 / 8 + 1.0 / 8)


def test_a_pong_is_an_answer_only_once_and_only_to_a_ping():
    keepalive = Keepalive(INTERVAL, DEAD_AFTER, now=0.0)
    first = keepalive.ping(0.0)
    second = keepalive.ping(1.0)
    assert not keepalive.pong(bytes(8), 1.1)
    assert not keepalive.pong((3).to_bytes(8, "big"), 1.1)
    assert keepalive.pong(second, 1.1)
    assert not keepalive.pong(second, 1.2)
    assert not keepalive.pong(first, 1.2)  # settled by the second: TCP keeps the order


def test_silence_is_death_exactly_at_the_deadline():
    keepalive = Keepalive(INTERVAL, DEAD_AFTER, now=0.0)
    number = keepalive.ping(0.0)
    keepalive.pong(number, 0.1)
    now = 0.1
    while (deadline := keepalive.next_deadline()) < 0.1 + DEAD_AFTER:
        now = deadline
        assert not keepalive.is_dead(now)
        keepalive.ping(now)
    assert deadline == pytest.approx(0.1 + DEAD_AFTER)
    assert keepalive.is_dead(deadline)


def test_an_answer_puts_death_off():
    keepalive = Keepalive(INTERVAL, DEAD_AFTER, now=0.0)
    keepalive.pong(keepalive.ping(0.0), 3.9)
    assert not keepalive.is_dead(4.0)


def test_when_we_slept_the_remote_gets_one_more_interval_and_no_second():
    watchdog = Watchdog(INTERVAL, DEAD_AFTER, now=0.0)
    assert not watchdog.is_dead(60.0, due=1.0)  # a minute late: we did not run
    assert watchdog.is_dead(61.0, due=61.0)
    again = Watchdog(INTERVAL, DEAD_AFTER, now=0.0)
    assert not again.is_dead(60.0, due=1.0)
    assert again.is_dead(90.0, due=61.0)  # late once more, nothing heard in between
    heard = Watchdog(INTERVAL, DEAD_AFTER, now=0.0)
    assert not heard.is_dead(60.0, due=1.0)
    heard.heard(60.5)
    assert not heard.is_dead(120.0, due=61.0)


class KeepaliveMachine(RuleBasedStateMachine):
    """A remote that answers any subset of pings, and a shell that keeps the deadlines."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.keepalive = Keepalive(INTERVAL, DEAD_AFTER, self.now)
        self.waiting: list[bytes] = []
        self.heard = self.now
        self.dead = False

    @precondition(lambda self: not self.dead)
    @rule()
    def wake(self):
        self.now = max(self.now, self.keepalive.next_deadline())
        self.dead = self.keepalive.is_dead(self.now)
        if not self.dead:
            number = self.keepalive.ping(self.now)
            if number is not None:
                self.waiting = [*self.waiting, number][-MOST_UNANSWERED:]

    @precondition(lambda self: not self.dead and self.waiting)
    @rule(data=st.data(), fraction=st.floats(0.0, 1.0))
    def answer(self, data, fraction):
        index = data.draw(st.integers(0, len(self.waiting) - 1))
        self.now += fraction * max(0.0, self.keepalive.next_deadline() - self.now)
        assert self.keepalive.pong(self.waiting[index], self.now)
        self.heard = self.now
        del self.waiting[: index + 1]

    @precondition(lambda self: self.dead)
    @rule()
    def dial_again(self):
        self.keepalive = Keepalive(INTERVAL, DEAD_AFTER, self.now)
        self.heard = self.now
        self.waiting.clear()
        self.dead = False

    @invariant()
    def dead_when_and_only_when_silent_for_so_long(self):
        silence = self.now - self.heard
        if self.dead:
            assert silence >= DEAD_AFTER - 1e-9
        else:
            assert silence <= DEAD_AFTER

    @invariant()
    def a_deadline_is_never_far(self):
        assert self.keepalive.next_deadline() <= self.now + INTERVAL + 1e-9

    @invariant()
    def memory_is_bounded(self):
        assert len(self.keepalive._unanswered) <= MOST_UNANSWERED


TestKeepaliveMachine = KeepaliveMachine.TestCase


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.integers(1, 60), st.integers())
def test_backoff_doubles_with_jitter_within_its_bounds(minimum, maximum, count, seed):
    backoff = Backoff(minimum, maximum, random.Random(seed))
    top = max(minimum, maximum)
    for n in range(count):
        ceiling = min(minimum * 2.0**n, top)
        assert ceiling / 2 <= backoff.wait() <= ceiling
    backoff.reset()
    assert backoff.wait() <= minimum


def test_two_backoffs_are_not_in_step():
    one = Backoff(0.1, 10, random.Random(1))
    two = Backoff(0.1, 10, random.Random(2))
    assert all(one.wait() != two.wait() for _ in range(10))


def test_the_throttle_admits_one_in_its_time_and_says_what_it_skipped():
    throttle = Throttle(10.0)
    assert throttle.admit("a", 0.0) == 0
    assert [throttle.admit("a", t) for t in (1.0, 5.0, 9.9)] == [None, None, None]
    assert throttle.admit("b", 5.0) == 0
    assert throttle.admit("a", 10.0) == 3
    assert throttle.admit("a", 20.0) == 0
