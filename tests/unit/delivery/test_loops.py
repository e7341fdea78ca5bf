"""The loop monitor as a state machine against a plain model; then the alarm and the quality by example."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from peerd.delivery import LoopLost, LoopReturned
from peerd.delivery.loops import (
    FEWEST,
    INITIAL_SECONDS,
    LONGEST_SECONDS,
    OUTSTANDING,
    WINDOW,
    LoopMonitor,
)
from peerd.types import PeerId

PEERS = [PeerId(bytes([n]) * 16) for n in range(1, 6)]
ALARM = 0.5


class Model(RuleBasedStateMachine):
    """Keeps a list of what is settled, and judges it by the documented rules."""

    loops = Bundle("loops")

    def __init__(self) -> None:
        super().__init__()
        self.monitor = LoopMonitor(ALARM)
        self.now = 0.0
        self.count = 0
        self.made: dict[bytes, frozenset[PeerId]] = {}
        self.on_their_way: dict[bytes, float] = {}
        self.settled: list[bool] = []
        self.alarm = False

    def settle(self, home: bool) -> None:
        self.settled.append(home)
        latest = self.settled[-WINDOW:]
        if len(latest) >= FEWEST:
            loss = latest.count(False) / len(latest)
            self.alarm = loss >= (ALARM / 2 if self.alarm else ALARM)

    def forget(self, loop: bytes) -> None:
        self.made.pop(loop, None)
        self.on_their_way.pop(loop, None)

    @rule(target=loops, via=st.frozensets(st.sampled_from(PEERS), min_size=1, max_size=3))
    def make(self, via):
        self.count += 1
        loop = self.count.to_bytes(16, "big")
        self.monitor.made(loop, via, 0.5)
        self.made[loop] = via
        return loop

    @rule(loop=loops)
    def depart(self, loop):
        self.monitor.departed(loop, self.now)
        if loop in self.made:
            self.on_their_way.setdefault(loop, self.now)

    @rule(loop=consumes(loops))
    def stay(self, loop):
        self.monitor.unsent(loop)
        self.forget(loop)

    @rule(loop=loops)
    def come_home(self, loop):
        told = self.monitor.returned(loop, self.now)
        departed = self.on_their_way.get(loop)
        if departed is None:
            assert told is None
        else:
            assert told == LoopReturned(self.now - departed)
            self.settle(True)
        self.forget(loop)

    @rule(data=st.binary(min_size=16, max_size=16))
    def stranger(self, data):
        if int.from_bytes(data, "big") > self.count:
            assert self.monitor.returned(data, self.now) is None
            self.monitor.departed(data, self.now)
            self.monitor.unsent(data)

    @rule(wait=st.sampled_from([0.0, 0.1, 3.0, 20.0, 100.0]))
    def wait(self, wait):
        self.now += wait
        lost = self.monitor.expire(self.now)
        assert all(event == LoopLost() for event in lost)
        late = [loop for loop, at in self.on_their_way.items() if at + 0.5 + LONGEST_SECONDS <= self.now]
        assert len(lost) >= len(late), "nobody is waited for longer than that"
        # Which ones: those that the monitor no longer knows; the oldest departures go first.
        by_age = sorted(self.on_their_way, key=lambda loop: self.on_their_way[loop])
        early = by_age[len(lost) :]
        assert all(self.on_their_way[loop] + 0.5 <= self.now for loop in by_age[: len(lost)])
        for loop in by_age[: len(lost)]:
            self.forget(loop)
            self.settle(False)
        assert set(early) == set(self.on_their_way)

    @precondition(lambda self: self.made)
    @rule(peer=st.sampled_from(PEERS))
    def die(self, peer):
        before = (self.monitor.loss, self.monitor.alarm)
        self.monitor.peer_died(peer)
        for loop in [loop for loop, via in self.made.items() if peer in via]:
            self.forget(loop)
        assert (self.monitor.loss, self.monitor.alarm) == before, "its loops prove nothing"
        assert self.monitor.quality(peer) is None

    @invariant()
    def verdict(self):
        latest = self.settled[-WINDOW:]
        if len(latest) < FEWEST:
            assert self.monitor.loss is None
            assert not self.monitor.alarm
        else:
            assert self.monitor.loss == latest.count(False) / len(latest)
        assert self.monitor.alarm == self.alarm

    @invariant()
    def deadlines(self):
        deadline = self.monitor.next_deadline()
        assert (deadline is None) == (not self.on_their_way)
        if deadline is not None:
            assert deadline <= min(self.on_their_way.values()) + 0.5 + LONGEST_SECONDS

    @invariant()
    def qualities(self):
        for peer in PEERS:
            quality = self.monitor.quality(peer)
            assert quality is None or 0.0 <= quality <= 1.0


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


class Loops:
    """Sends loops, one after the other, and lets them come home or not."""

    def __init__(self, alarm_loss: float = ALARM) -> None:
        self.monitor = LoopMonitor(alarm_loss)
        self.now = 0.0
        self.count = 0

    def one(self, home: bool, via: frozenset[PeerId] = frozenset(PEERS[:3])) -> None:
        self.count += 1
        loop = self.count.to_bytes(16, "big")
        self.monitor.made(loop, via, 0.0)
        self.monitor.departed(loop, self.now)
        if home:
            self.monitor.returned(loop, self.now + 0.2)
        else:
            self.now += LONGEST_SECONDS + 1
            assert self.monitor.expire(self.now) == [LoopLost()]

    def many(self, homes: list[bool]) -> None:
        for home in homes:
            self.one(home)


def test_the_verdict_is_over_the_latest_32_and_takes_16() -> None:
    assert (WINDOW, FEWEST) == (32, 16)


def test_no_verdict_before_enough_are_settled() -> None:
    loops = Loops()
    loops.many([False] * (FEWEST - 1))
    assert (loops.monitor.loss, loops.monitor.alarm) == (None, False)
    loops.one(False)
    assert (loops.monitor.loss, loops.monitor.alarm) == (1.0, True)


def test_the_alarm_is_raised_at_the_limit_and_not_below_it() -> None:
    loops = Loops()
    loops.many([True] * WINDOW + [False] * (WINDOW // 2 - 1))
    assert loops.monitor.loss == (WINDOW // 2 - 1) / WINDOW
    assert not loops.monitor.alarm
    loops.one(False)
    assert (loops.monitor.loss, loops.monitor.alarm) == (0.5, True)


def test_the_alarm_lasts_until_half_of_the_loss_that_raised_it() -> None:
    loops = Loops()
    loops.many([False] * WINDOW)
    seen = []
    for _ in range(WINDOW):
        loops.one(True)
        seen.append((loops.monitor.loss, loops.monitor.alarm))
    assert [alarm for _, alarm in seen] == [loss >= ALARM / 2 for loss, _ in seen]
    assert seen[-1] == (0.0, False)
    loops.one(False)
    assert not loops.monitor.alarm


def test_only_the_latest_count() -> None:
    loops = Loops()
    loops.many([False] * 500 + [True] * WINDOW)
    assert loops.monitor.loss == 0.0
    loops.many([True] * 500 + [False] * (WINDOW // 2))
    assert loops.monitor.alarm


@pytest.mark.parametrize(("limit", "raised"), [(0.1, True), (0.25, True), (0.26, False), (1.0, False)])
def test_the_limit_is_the_operators_and_can_change(limit: float, raised: bool) -> None:
    loops = Loops(limit)
    loops.many([True, True, True, False] * (WINDOW // 4))
    assert loops.monitor.alarm is raised
    loops.monitor.alarm_loss = 0.1
    loops.one(True)
    assert loops.monitor.alarm


def test_loops_by_the_dead_prove_nothing() -> None:
    loops = Loops()
    monitor, dead = loops.monitor, PEERS[0]
    for number in range(100, 140):
        loop = number.to_bytes(16, "big")
        monitor.made(loop, frozenset({dead, PEERS[1]}), 0.0)
        monitor.departed(loop, 0.0)
    monitor.peer_died(dead)
    assert monitor.next_deadline() is None
    assert monitor.expire(1000.0) == []
    assert (monitor.loss, monitor.alarm) == (None, False)
    assert monitor.returned((100).to_bytes(16, "big"), 1.0) is None


def test_a_loop_that_comes_home_after_it_was_given_up_changes_nothing() -> None:
    loops = Loops()
    loops.many([False] * FEWEST)
    assert loops.monitor.returned((1).to_bytes(16, "big"), loops.now) is None
    assert loops.monitor.loss == 1.0


def test_the_quality_is_that_of_the_mix_nodes_on_the_way() -> None:
    loops = Loops()
    good, bad, third = PEERS[:3]
    assert loops.monitor.quality(good) is None
    for number in range(60):
        loops.one(number % 2 == 0, frozenset({bad if number % 2 else good, third}))
    quality = loops.monitor.quality
    assert quality(good) == 1.0
    assert quality(bad) < 0.2 < quality(third) < 0.8
    assert quality(PEERS[4]) is None
    loops.monitor.peer_died(bad)
    assert quality(bad) is None
    assert quality(third) is not None


def test_patience_follows_what_loops_take_within_limits() -> None:
    def wait(rtt: float) -> float:
        monitor = LoopMonitor(ALARM)
        for number in range(50):
            loop = number.to_bytes(16, "big")
            monitor.made(loop, frozenset(), 2.0)
            monitor.departed(loop, 0.0)
            monitor.returned(loop, 2.0 + rtt)
        monitor.made(b"x" * 16, frozenset(), 2.0)
        assert monitor.next_deadline() is None, "the clock does not start before it leaves"
        monitor.departed(b"x" * 16, 100.0)
        monitor.departed(b"x" * 16, 200.0)
        deadline = monitor.next_deadline()
        assert deadline is not None
        return deadline - 100.0

    assert wait(0.01) == 2.0 + 5.0
    assert 2.0 + 12.0 <= wait(12.0) < 2.0 + 60.0
    assert wait(500.0) == 2.0 + 60.0


def test_the_excess_is_what_a_loop_took_beyond_the_delays_that_we_chose() -> None:
    monitor = LoopMonitor(ALARM)
    slow, quick, third = PEERS[:3]
    assert monitor.excess(slow) is None
    for number in range(200):
        loop = number.to_bytes(16, "big")
        via, took = ({slow, third}, 0.9) if number % 2 else ({quick, third}, 0.1)
        monitor.made(loop, frozenset(via), 2.0)
        monitor.departed(loop, 10.0 * number)
        monitor.returned(loop, 10.0 * number + 2.0 + took)
        if not number:
            assert monitor.excess(quick) == pytest.approx(0.1), "the first is taken as it is"
    assert monitor.excess(slow) == pytest.approx(0.9)
    assert monitor.excess(quick) == pytest.approx(0.1)
    assert 0.4 < monitor.excess(third) < 0.6
    assert monitor.excess(PEERS[4]) is None
    monitor.peer_died(slow)
    assert monitor.excess(slow) is None


def test_lost_loops_have_no_excess_and_a_clocks_grain_makes_none_negative() -> None:
    loops = Loops()
    loops.one(False)
    assert loops.monitor.excess(PEERS[0]) is None
    loops.monitor.made(b"x" * 16, frozenset(PEERS[:1]), 0.5)
    loops.monitor.departed(b"x" * 16, 1000.0)
    loops.monitor.returned(b"x" * 16, 1000.4999)
    assert loops.monitor.excess(PEERS[0]) == 0.0
    loops.one(False)
    assert loops.monitor.excess(PEERS[0]) == 0.0


class Unlisted(OrderedDict):
    """Must not be gone through."""

    def items(self):
        raise AssertionError("every loop was looked at")

    values = keys = __iter__ = items


def test_a_turn_does_not_look_at_every_loop_that_is_on_its_way() -> None:
    """It once did, twice: 0.6 ms of each turn with 4000 of them."""
    monitor = LoopMonitor(ALARM)
    for number in range(4000):
        loop = number.to_bytes(16, "big")
        monitor.made(loop, frozenset(PEERS[:3]), 0.0)
        monitor.departed(loop, 1e-3 * number)
    monitor._loops = Unlisted(monitor._loops)
    deadline = monitor.next_deadline()
    assert deadline == INITIAL_SECONDS
    assert monitor.expire(deadline - 1.0) == []
    assert monitor.expire(deadline + 1.0005) == [LoopLost()] * 1001
    assert monitor.next_deadline() == pytest.approx(deadline + 1.001)


def test_loops_that_came_home_leave_nothing_behind() -> None:
    monitor = LoopMonitor(ALARM)
    for number in range(5 * OUTSTANDING):
        loop = number.to_bytes(16, "big")
        monitor.made(loop, frozenset(PEERS[:3]), 100.0)
        monitor.departed(loop, 0.0)
        monitor.returned(loop, 100.1)
        assert len(monitor._deadlines) <= 2 * OUTSTANDING + 1
    assert monitor.next_deadline() is None
    assert monitor.expire(1e6) == []


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    monitor = LoopMonitor(ALARM)
    for number in range(OUTSTANDING + 10):
        loop = number.to_bytes(16, "big")
        monitor.made(loop, frozenset(PEERS), 0.0)
        monitor.departed(loop, float(number))
    assert monitor.returned((9).to_bytes(16, "big"), 1e4) is None
    assert monitor.returned((10).to_bytes(16, "big"), 1e4) is not None
    assert len(monitor.expire(1e6)) == OUTSTANDING - 1
    assert monitor.expire(1e6) == []
