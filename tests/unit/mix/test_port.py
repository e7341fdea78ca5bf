"""What holds for every strategy; and that the port suits the mixes of the next issue as well."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Callable, Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peerd.config import MixingConfig
from peerd.mix import CoverWanted, Queued, Strategy, make_strategy
from peerd.mix.port import Departure
from peerd.types import DropReason, PacketKind, PeerId

LIMIT = 16
NAMES = st.sampled_from(["exponential", "outbox"])


def build(name: str, seed: int, now: float, limit: int = LIMIT) -> Strategy:
    config = MixingConfig(strategy=name, queue_limit=limit, outbox_size=4)
    return make_strategy(config, random.Random(seed), now)


def test_the_configured_strategy_is_made() -> None:
    assert [build(name, 0, 0.0).name for name in ("exponential", "outbox")] == [
        "exponential",
        "outbox",
    ]


def test_the_outbox_has_the_configured_size_interval_and_jitter(make, drive, real) -> None:
    config = MixingConfig(
        strategy="outbox",
        outbox_size=2,
        outbox_interval_seconds=0.25,
        outbox_jitter_seconds=0.0,
    )
    mix = make_strategy(config, random.Random(0), 10.0)
    assert mix.next_deadline() == 10.25
    for _ in range(8):
        mix.push(make(), 10.0)
    seen = drive(mix, 30.0)
    assert [moment for moment, _ in seen] == [10.25 + 0.25 * tick for tick in range(80)]
    assert len(real([departure for _, departure in seen[:7]])) == 7  # full: no room for cover

    jittery = make_strategy(
        MixingConfig(strategy="outbox", outbox_interval_seconds=0.25, outbox_jitter_seconds=0.01),
        random.Random(0),
        0.0,
    )
    moments = [0.0] + [moment for moment, _ in drive(jittery, 50.0)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert statistics.stdev(gaps) == pytest.approx(0.01, rel=0.3)


class LiveSwitches(RuleBasedStateMachine):
    """Any traffic, any wake-ups, any switches: each packet taken in leaves exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 50.0
        self.strategy = build("exponential", 0, self.now)
        self.taken: list[int] = []
        self.left: list[int] = []
        self.sent = 0

    @rule(delay=st.floats(0.0, 1.0), count=st.integers(1, 12))
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
        before = self.strategy.next_deadline()
        departures = self.strategy.due(self.now)
        assert bool(departures) == (before is not None and before <= self.now)
        for item in departures:
            if isinstance(item, Queued):
                assert isinstance(item.token, int)
                self.left.append(item.token)

    @rule(name=NAMES, seed=st.integers(0, 9))
    def switch(self, name: str, seed: int) -> None:
        held = self.strategy.drain(self.now)
        assert len(self.strategy) == 0
        assert all(0.0 <= item.delay <= 1.0 for item in held)
        self.strategy = build(name, seed, self.now)
        self.strategy.adopt(held, self.now)

    @invariant()
    def nothing_lost_nothing_twice(self) -> None:
        assert len(self.left) == len(set(self.left))
        assert len(self.strategy) == len(self.taken) - len(self.left)

    def teardown(self) -> None:
        rest = [item.token for item in self.strategy.drain(self.now)]
        assert sorted([*self.left, *rest]) == self.taken


TestLiveSwitches = LiveSwitches.TestCase
TestLiveSwitches.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("name", ["exponential", "outbox"])
def test_a_switch_to_a_lower_limit_loses_nothing_but_takes_no_more(name: str, make) -> None:
    old = build("exponential", 0, 0.0, limit=100)
    for _ in range(100):
        old.push(make(5.0), 0.0)
    new = build(name, 0, 1.0)
    new.adopt(old.drain(1.0), 1.0)
    assert len(new) == 100
    assert new.push(make(), 1.0) is DropReason.MIX_QUEUE_FULL


def test_a_packet_that_is_moved_twice_still_leaves_when_its_sender_wanted(make, drive) -> None:
    first = build("exponential", 0, 10.0)
    first.push(make(0.9), 10.0)
    box = build("outbox", 0, 10.3)
    box.adopt(first.drain(10.3), 10.3)
    last = build("exponential", 0, 10.5)
    last.adopt(box.drain(10.5), 10.5)
    assert [moment for moment, _ in drive(last, 20.0)] == pytest.approx([10.9])


# -- mixes of the literature behind the same port ---------------------------------------------


class _Batch:
    """What a threshold, a timed and a pool mix have in common: a list that is flushed."""

    name = "batch"

    def __init__(self) -> None:
        self._held: list[Queued] = []

    def push(self, item: Queued, now: float) -> DropReason | None:
        item.arrived = now
        self._held.append(item)
        return None

    def adopt(self, items: Iterable[Queued], now: float) -> None:
        for item in items:
            self.push(item, now)

    def drain(self, now: float) -> list[Queued]:
        held, self._held = self._held, []
        for item in held:
            item.delay = item.remaining(now)
        return held

    def __len__(self) -> int:
        return len(self._held)


class Threshold(_Batch):
    def __init__(self, batch: int) -> None:
        super().__init__()
        self._batch = batch
        self._filled = 0.0

    def push(self, item: Queued, now: float) -> DropReason | None:
        super().push(item, now)
        if len(self._held) == self._batch:
            self._filled = now
        return None

    def next_deadline(self) -> float | None:
        return self._filled if len(self._held) >= self._batch else None

    def due(self, now: float) -> list[Departure]:
        if self.next_deadline() is None:
            return []
        out, self._held = self._held, []
        return list(out)


class TimedPool(_Batch):
    def __init__(self, every: float, keep: int, rng: random.Random) -> None:
        super().__init__()
        self._every, self._keep, self._rng = every, keep, rng
        self._next = every

    def next_deadline(self) -> float | None:
        return self._next

    def due(self, now: float) -> list[Departure]:
        if now < self._next:
            return []
        self._next += self._every
        self._rng.shuffle(self._held)
        count = max(len(self._held) - self._keep, 0)
        out, self._held = self._held[:count], self._held[count:]
        return list(out) or [CoverWanted()]


class NoMixing(_Batch):
    def next_deadline(self) -> float | None:
        return self._held[0].arrived if self._held else None

    def due(self, now: float) -> list[Departure]:
        out, self._held = self._held, []
        return list(out)


def relay(strategy: Strategy, arrivals: list[tuple[float, Queued]]) -> list[tuple[float, Queued]]:
    """As the relay drives it: wake at deadlines, push, and release after each push what is due."""
    out: list[tuple[float, Queued]] = []

    def wake(moment: float) -> None:
        out.extend((moment, d) for d in strategy.due(moment) if isinstance(d, Queued))

    for moment, item in arrivals:
        while (deadline := strategy.next_deadline()) is not None and deadline <= moment:
            wake(deadline)
        strategy.push(item, moment)
        wake(moment)
    return out


@pytest.mark.parametrize(
    ("strategy", "left", "held"),
    [
        (lambda: Threshold(4), 8, 2),
        (lambda: TimedPool(0.25, 0, random.Random(1)), 9, 1),
        (lambda: TimedPool(0.25, 3, random.Random(1)), 6, 4),
        (lambda: NoMixing(), 10, 0),
    ],
    ids=["threshold", "timed", "pool", "none"],
)
def test_the_port_suits(
    strategy: Callable[[], Strategy], left: int, held: int, make: Callable[[], Queued]
) -> None:
    mix = strategy()
    arrivals = [(0.1 * (i + 1), make()) for i in range(10)]
    out = relay(mix, arrivals)
    assert len(out) == left
    assert len(mix) == held
    rest = mix.drain(2.0)
    everything = sorted(map(id, [item for _, item in out] + rest))
    assert everything == sorted(id(item) for _, item in arrivals)
    assert all(moment >= item.arrived for moment, item in out)
