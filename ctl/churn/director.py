"""Making a schedule happen to the processes of a testbed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from ctl import draining
from ctl.churn.observer import Observer
from ctl.churn.schedule import Schedule, Step
from ctl.testbed import Plan, Testbed
from ctl.watch import Silent
from peerd.errors import PeerdError, UnavailableError

DRAIN_SECONDS = 60.0
END_SECONDS = 20.0
"""A daemon that has drained ends within this."""

What = Literal["there", "joins", "drains", "left", "killed", "returns", "back", "frozen", "thawed"]


@dataclass(frozen=True, slots=True)
class Happened:
    """`joins` and `returns`: its daemon is being started, `there` and `back`: it serves."""

    at: float
    """Unix time."""
    round: int
    """That the steady peers were in."""
    what: What
    peer: str


class Rounds(Protocol):
    """Where the run is."""

    round: int
    """That the first of the steady peers is in."""

    async def reached(self, number: int) -> None:
        """Until that round has begun. PeerdError when it never will."""


class Director:
    """`tell` is told what was done."""

    def __init__(
        self,
        testbed: Testbed,
        plan: Plan,
        schedule: Schedule,
        observer: Observer,
        rounds: Rounds,
        tell: Callable[[Happened], None],
        patience: float,
    ) -> None:
        self._testbed = testbed
        self._plan = plan
        self._schedule = schedule
        self._observer = observer
        self._rounds = rounds
        self._tell = tell
        self._patience = patience

    async def play(self) -> None:
        """All steps, to the end of the last. What takes a while does not hold up the next one. The errors of
        `peerd.errors`, the first in an ExceptionGroup, where a step fails."""
        async with asyncio.TaskGroup() as group:
            for step in self._schedule.steps:
                await self._rounds.reached(step.round)
                group.create_task(self._do(step))

    async def _do(self, step: Step) -> None:
        match step.act:
            case "join":
                await self._start(step.peer, "joins", "there")
            case "return":
                await self._start(step.peer, "returns", "back")
            case "kill":
                self._observer.end(step.peer)
                self._testbed.kill(step.peer)
                self._say("killed", step.peer)
            case "drain":
                await self._drain(step.peer)
            case "freeze":
                self._testbed.freeze(step.peer)
                self._say("frozen", step.peer)
                await asyncio.sleep(step.seconds)
                self._testbed.thaw(step.peer)
                self._say("thawed", step.peer)

    async def _start(self, name: str, begins: What, serves: What) -> None:
        self._say(begins, name)
        await self._testbed.start(self._plan, self._patience, lambda text, complete: None, [name])
        self._observer.begin(self._testbed.peer(name).endpoint)
        self._say(serves, name)

    async def _drain(self, name: str) -> None:
        self._testbed.leaving(name)
        self._say("drains", name)
        endpoint = self._testbed.peer(name).endpoint
        answers = await draining.drain([endpoint], DRAIN_SECONDS, False, Silent())
        for failure in answers.bad:
            raise failure.error
        for answer in answers.good:
            if answer.value.state != draining.DRAINED:
                raise PeerdError(f"{name} did not leave politely: {draining.line(name, answer.value)}")
        self._observer.end(name)
        if not await self._testbed.wait_gone(name, END_SECONDS):
            raise UnavailableError(f"{name} has drained, but its daemon goes on")
        self._say("left", name)

    def _say(self, what: What, name: str) -> None:
        self._tell(Happened(time.time(), self._rounds.round, what, name))
