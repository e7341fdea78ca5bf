"""What holds for every strategy."""

from __future__ import annotations

import random
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.config import MixingConfig, StrategyName
from peerd.mix import CoverWanted, Queued, Strategy, make_strategy
from peerd.types import DropReason, PacketKind, PeerId

LIMIT = 16
NAMES: tuple[str, ...] = get_args(StrategyName)


def build(name: str, seed: int, now: float, limit: int = LIMIT, patience: float = 0.4) -> Strategy:
    config = MixingConfig(
        strategy=name,
        queue_limit=limit,
        outbox_size=4,
        threshold_size=5,
        threshold_patience_seconds=patience,
        pool_minimum=3,
    )
    return make_strategy(config, random.Random(seed), now)


class LiveSwitches(RuleBasedStateMachine):
    """Any traffic, any wake-ups, any switches: each packet taken in leaves exactly once."""

    first = "exponential"

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.strategy = build(self.first, 0, self.now)
        self.taken: list[int] = []
        self.left: list[int] = []
        self.sent = 0

    @rule(delay=st.one_of(st.just(0.0), st.floats(0.0, 1.0)), count=st.integers(1, 12))
    def push(self, delay: float, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            item = Queued(b"", PeerId(bytes(16)), PacketKind.OWN, delay, self.sent)
            refused = self.strategy.push(item, self.now)
            if refused is None:
                self.taken.append(self.sent)
            else:
                assert refused is DropReason.MIX_QUEUE_FULL
                assert len(self.strategy) >= LIMIT

    @rule(wait=st.floats(0.0, 0.5))
    def wake(self, wait: float) -> None:
        self.now += wait
        self._due()

    @precondition(lambda self: self.strategy.next_deadline() is not None)
    @rule()
    def wake_at_the_deadline(self) -> None:
        self.now = max(self.now, self.strategy.next_deadline() or 0.0)
        assert self._due() > 0

    @precondition(lambda self: self.strategy.next_deadline() is not None)
    @rule()
    def wake_until_nothing_is_due(self) -> None:
        turns = 0
        while self._due():
            turns += 1
            assert turns <= 1000

    def _due(self) -> int:
        before, bits = self.strategy.next_deadline(), self.strategy.entropy_bits
        departures = self.strategy.due(self.now)
        assert bool(departures) == (before is not None and before <= self.now)
        real = [item for item in departures if isinstance(item, Queued)]
        for item in real:
            assert isinstance(item.token, int)
            self.left.append(item.token)
        if not real:
            assert self.strategy.entropy_bits == bits
        return len(departures)

    @rule(name=st.sampled_from(NAMES), seed=st.integers(0, 9), patient=st.booleans())
    def switch(self, name: str, seed: int, patient: bool) -> None:
        held = self.strategy.drain(self.now)
        assert len(self.strategy) == 0
        assert all(0.0 <= item.delay <= 1.0 for item in held)
        self.strategy = build(name, seed, self.now, patience=0.0 if patient else 0.4)
        self.strategy.adopt(held, self.now)

    @invariant()
    def nothing_lost_nothing_twice(self) -> None:
        assert len(self.left) == len(set(self.left))
        assert len(self.strategy) == len(self.taken) - len(self.left)

    @invariant()
    def entropy_is_possible(self) -> None:
        """No packet hides among more than all that came in."""
        assert self.strategy.entropy_bits >= 0.0
        assert 2.0**self.strategy.entropy_bits <= len(self.taken) * 1.001 + 1.0

    def teardown(self) -> None:
        rest = [item.token for item in self.strategy.drain(self.now)]
        assert sorted([*self.left, *rest]) == self.taken


def switches_from(name: str) -> type:
    machine = type(f"LiveSwitchesFrom{name.title()}", (LiveSwitches,), {"first": name})
    case = machine.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
    return case


TestLiveSwitchesFromExponential = switches_from("exponential")
TestLiveSwitchesFromOutbox = switches_from("outbox")
TestLiveSwitchesFromThreshold = switches_from("threshold")
TestLiveSwitchesFromTimed = switches_from("timed")
TestLiveSwitchesFromPool = switches_from("pool")
TestLiveSwitchesFromNone = switches_from("none")


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_is_tested_with_switches(name: str) -> None:
    assert f"TestLiveSwitchesFrom{name.title()}" in globals()


@pytest.mark.parametrize("name", NAMES)
def test_a_switch_to_a_lower_limit_loses_nothing_but_takes_no_more(name: str, make) -> None:
    old = build("exponential", 0, 0.0, limit=100)
    for _ in range(100):
        old.push(make(5.0), 0.0)
    new = build(name, 0, 1.0)
    new.adopt(old.drain(1.0), 1.0)
    assert len(new) == 100
    assert new.push(make(), 1.0) is DropReason.MIX_QUEUE_FULL


@pytest.mark.parametrize("name", ["outbox", "threshold", "timed", "pool", "none"])
def test_a_packet_that_is_moved_twice_still_leaves_when_its_sender_wanted(name: str, make, drive) -> None:
    first = build("exponential", 0, 10.0)
    first.push(make(0.9), 10.0)
    between = build(name, 0, 10.3)
    between.adopt(first.drain(10.3), 10.3)
    last = build("exponential", 0, 10.5)
    last.adopt(between.drain(10.5), 10.5)
    assert [moment for moment, _ in drive(last, 20.0)] == pytest.approx([10.9])


LEFT = {"exponential": 10, "outbox": 10, "threshold": 10, "timed": 10, "pool": 7, "none": 10}


@pytest.mark.parametrize("name", NAMES)
def test_in_the_end_all_packets_leave_but_what_a_pool_keeps(name: str, make, drive) -> None:
    mix = build(name, 0, 0.0)
    items = [make(0.3) for _ in range(10)]
    for number, item in enumerate(items):
        mix.push(item, 0.01 * number)
    out = [departure for _, departure in drive(mix, 60.0) if not isinstance(departure, CoverWanted)]
    assert len(out) == LEFT[name]
    rest = mix.drain(60.0)
    assert sorted(map(id, out + rest)) == sorted(map(id, items))
