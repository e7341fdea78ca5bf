"""Following peers that come and go: how each stands twice a second, its run, and the events that it tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from ctl import streams
from ctl.board import ENDED
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.events import EVENTS, Told
from peerd.errors import PeerdError
from peerd.pb import node_pb2, runs_pb2

SAMPLE_SECONDS = 0.5
PATIENCE = 3.0
"""Seconds for a status: the machine is busy, and a frozen peer never answers."""
AGAIN_SECONDS = 0.2
"""After a peer did not answer, or has not heard of the run yet."""


class Listener(Protocol):
    """Who is told. `life` counts the starts of a peer, from 1: its counters begin anew with each."""

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        """Twice a second, by Unix time."""

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        """At every change."""

    def event(self, told: Told) -> None:
        """Each once."""

    def gone(self, name: str) -> None:
        """It has ended, or is about to be killed."""


class Silence:
    """A `Listener` that does nothing."""

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        del name, life, status, at

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        del name, status, at

    def event(self, told: Told) -> None:
        del told

    def gone(self, name: str) -> None:
        del name


class Observer:
    """Of one run. `begin` when a peer has started, `end` before it goes, `close` at last. Its tasks belong to
    `group`: what goes wrong with the following itself ends that."""

    def __init__(
        self,
        listener: Listener,
        run_id: str,
        group: asyncio.TaskGroup,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._listener = listener
        self._run_id = run_id
        self._group = group
        self._clock = clock
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._lives: dict[str, int] = {}

    def begin(self, endpoint: Endpoint) -> None:
        life = self._lives[endpoint.name] = self._lives.get(endpoint.name, 0) + 1
        works = (self._sample(endpoint, life), self._follow_run(endpoint), self._follow_events(endpoint))
        self._tasks[endpoint.name] = [self._group.create_task(work) for work in works]

    def end(self, name: str) -> None:
        for task in self._tasks.pop(name, []):
            task.cancel()
        self._listener.gone(name)

    def close(self) -> None:
        for tasks in self._tasks.values():
            for task in tasks:
                task.cancel()
        self._tasks.clear()

    async def _sample(self, endpoint: Endpoint, life: int) -> None:
        async with Client(endpoint, PATIENCE) as client:
            while True:
                begun = time.monotonic()
                with suppress(PeerdError):
                    self._listener.status(endpoint.name, life, await client.status(), self._clock())
                await asyncio.sleep(max(begun + SAMPLE_SECONDS - time.monotonic(), 0.0))

    async def _follow_run(self, endpoint: Endpoint) -> None:
        """To its end. A peer that has just joined hears of the run a moment later."""
        async with Client(endpoint, PATIENCE) as client:
            while True:
                with suppress(PeerdError):
                    async for status in client.watch_run():
                        if status.spec.run_id != self._run_id:
                            continue
                        self._listener.run(endpoint.name, status, self._clock())
                        if status.state in ENDED:
                            return
                await asyncio.sleep(AGAIN_SECONDS)

    async def _follow_events(self, endpoint: Endpoint) -> None:
        seen = 0
        while True:
            with suppress(PeerdError):
                async for event in streams.after(EVENTS, endpoint, seen):
                    seen = event.number
                    self._listener.event(Told(endpoint.name, event))
            await asyncio.sleep(AGAIN_SECONDS)
