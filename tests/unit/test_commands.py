"""Leaving because of a signal: in time, whatever goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerd.commands import Commands
from peerd.observe import EventLog


class SlowDrain:
    """Ends when it is told to, and takes no notice of its own time."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.seconds: list[float] = []

    async def run(self, seconds: float) -> str:
        self.seconds.append(seconds)
        await self.over.wait()
        return "drained"

    async def watch(self) -> Any:
        await self.over.wait()
        yield "drained"


@pytest.fixture
async def leaving():
    """Commands of a node of which there is nothing but what leaving needs."""
    drain, stopped = SlowDrain(), asyncio.Event()
    nothing: Any = None
    rest = [nothing] * 6
    async with asyncio.TaskGroup() as group:
        commands = Commands(
            *rest, EventLog(), drain, nothing, address=str, spawn=group.create_task, stop=stopped.set
        )  # fmt: skip
        yield commands, drain, stopped
        drain.over.set()


async def test_it_stops_when_it_has_drained(leaving) -> None:
    commands, drain, stopped = leaving
    commands.leave(3600.0)
    await asyncio.sleep(0)
    assert (drain.seconds, stopped.is_set()) == ([3600.0], False)
    drain.over.set()
    await asyncio.wait_for(stopped.wait(), 20)


async def test_it_stops_in_time_whatever_the_drain_does(leaving) -> None:
    commands, drain, stopped = leaving
    commands.leave(0.01)
    await asyncio.wait_for(stopped.wait(), 20)
    assert not drain.over.is_set()


async def test_a_drain_that_an_operator_has_begun_does_not_outlast_it(leaving) -> None:
    commands, drain, stopped = leaving
    watching = asyncio.create_task(anext(commands.drain(3600.0, stay=True)))
    await asyncio.sleep(0)
    commands.leave(0.01)
    await asyncio.wait_for(stopped.wait(), 20)
    assert drain.seconds == [3600.0]
    drain.over.set()
    await watching


async def test_one_that_has_drained_and_stays_stops_at_once(leaving) -> None:
    commands, drain, stopped = leaving
    drain.over.set()
    async for _ in commands.drain(3600.0, stay=True):
        pass
    commands.leave(3600.0)
    await asyncio.wait_for(stopped.wait(), 20)
