"""The asyncio shell: turns when something arrived or is due, events handed on, bugs not swallowed."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop

from peerd.clock import monotonic
from peerd.delivery import Received
from peerd.relay import Pump
from peerd.relay.pump import GO_ON_AT, HOLD_AT


class Core:
    """Stands for `Mixnet`: a script of deadlines, and a record of turns."""

    def __init__(self):
        self.inbox = []
        self.turns = []
        self.deadline = None
        self.delivery = self
        self.error = None
        self.turned = asyncio.Event()

    @property
    def inbox_depth(self):
        return len(self.inbox)

    def arrived(self, packet, now):
        assert abs(now - monotonic()) < 5.0
        self.inbox.append(packet)

    def send(self, to, payload, tag, message_id=None):
        self.inbox.append((to, payload, tag))

    def turn(self, now):
        self.turns.append(now)
        self.turned.set()
        if self.error is not None:
            raise self.error
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
        taken, self.inbox = self.inbox[:1], self.inbox[1:]
        return [Received(packet) for packet in taken]

    def next_deadline(self, now):
        return now if self.inbox else self.deadline


@pytest.fixture
async def pumping():
    core = Core()
    events = []
    pump = Pump(core, events.extend)
    task = asyncio.create_task(pump.run())
    await core.turned.wait()
    core.turned.clear()
    yield core, pump, events, task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, RuntimeError):
        await task


async def test_it_turns_until_nothing_waits_and_then_rests(pumping):
    core, pump, events, _ = pumping
    before = len(core.turns)
    for packet in (b"a", b"b", b"c"):
        pump.arrived(packet)
    while len(events) < 3:
        await core.turned.wait()
        core.turned.clear()
    assert [event.payload for event in events] == [b"a", b"b", b"c"]
    assert len(core.turns) - before == 3


async def test_it_wakes_at_the_deadline_and_not_before(pumping):
    core, pump, _, _ = pumping
    due = asyncio.get_running_loop().time() + 0.05
    core.deadline = due
    pump.wake()
    await core.turned.wait()
    core.turned.clear()
    await core.turned.wait()
    assert core.turns[-1] >= due
    assert core.turns[-2] < due


def test_it_does_not_spin_while_it_waits():
    """uvloop's timers fire up to a millisecond early: once that meant a hundred turns a deadline."""

    async def main():
        core = Core()
        pump = Pump(core, lambda events: None)
        task = asyncio.create_task(pump.run())
        await core.turned.wait()
        fired = 0
        for number in range(100):
            core.turned.clear()
            core.deadline = monotonic() + 0.0007 * (number % 5 + 1)
            pump.wake()
            while core.deadline is not None:
                await core.turned.wait()
                core.turned.clear()
            fired += 1
        task.cancel()
        return len(core.turns), fired

    turns, fired = uvloop.run(main())
    assert turns < 5 * fired


async def test_a_bug_in_a_turn_ends_the_pump_with_that_error(pumping):
    core, pump, _, task = pumping
    core.error = RuntimeError("a bug of ours")
    pump.wake()
    with pytest.raises(RuntimeError, match="a bug of ours"):
        await task


async def test_a_stopped_pump_does_not_turn_again(pumping):
    core, pump, _, task = pumping
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    turns = len(core.turns)
    pump.arrived(b"late")
    pump.send(b"peer", b"payload", 1)
    await asyncio.sleep(0)
    assert len(core.turns) == turns


async def test_links_are_held_while_packets_come_faster_than_turns_take_them():
    """Once on at a high mark, once off at a low one, and not for every packet between them."""
    core, held = Core(), []
    pump = Pump(core, lambda events: None, lambda on: held.append((on, core.inbox_depth)))
    task = asyncio.create_task(pump.run())
    await core.turned.wait()
    for _ in range(2):
        for _ in range(HOLD_AT + 20):
            pump.arrived(b"packet")
        while core.inbox:
            core.turned.clear()
            await core.turned.wait()
    task.cancel()
    assert [on for on, _ in held] == [True, False, True, False]
    assert all(depth >= HOLD_AT - 1 for on, depth in held if on)
    assert all(depth <= GO_ON_AT for on, depth in held if not on)


async def test_a_few_packets_hold_nothing(pumping):
    core, pump, events, _ = pumping
    for _ in range(HOLD_AT // 2):
        pump.arrived(b"packet")
    while len(events) < HOLD_AT // 2:
        core.turned.clear()
        await core.turned.wait()
