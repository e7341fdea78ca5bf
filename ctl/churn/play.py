"""One run on a testbed from its announcement to its end, with what the schedule makes happen meanwhile."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from ctl import aio
from ctl.board import ENDED
from ctl.churn.director import Director, Happened
from ctl.churn.observer import Listener, Observer
from ctl.churn.schedule import Schedule
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.events import Told
from ctl.notices import Signer
from ctl.testbed import Plan, Testbed
from peerd.errors import PeerdError, UnavailableError
from peerd.membership import run_spec_message
from peerd.pb import node_pb2, runs_pb2
from peerd.types import RunSpec

CALL_SECONDS = 30.0
HEARD_SECONDS = 30.0
"""After the announcement all peers must have heard of it."""
STILL_SECONDS = 120.0
"""A run in which no peer has got on for so long will not."""


@dataclass(frozen=True, slots=True)
class Play:
    testbed: Testbed
    """Up, but for the peers that join late."""
    plan: Plan
    schedule: Schedule
    spec: RunSpec
    """Its run id is drawn anew."""
    join_seconds: float
    patience: float
    """Seconds for the start of a daemon."""


class _Progress:
    """Where the run is; passes everything on."""

    def __init__(self, schedule: Schedule, to: Listener) -> None:
        self._schedule = schedule
        self._to = to
        self.round = 0
        """The first of the steady peers is in it."""
        self.runs: dict[str, runs_pb2.RunStatus] = {}
        self.ended: set[str] = set()
        self.failed = ""
        self.changed_at = time.monotonic()
        self._changed = asyncio.Event()

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        self._to.status(name, life, status, at)

    def event(self, told: Told) -> None:
        self._to.event(told)

    def gone(self, name: str) -> None:
        self._to.gone(name)

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        self.runs[name] = status
        self._to.run(name, status, at)
        if status.state in ENDED:
            self.ended.add(name)
        if status.state in ("failed", "stopped") and name in self._schedule.finishers:
            self.failed = f"{name}: the run {status.state}: {status.error or 'no reason given'}"
        if name in self._schedule.steady:
            self.round = max(self.round, status.round)
        self.changed_at = time.monotonic()
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, ready: Callable[[], bool]) -> None:
        """PeerdError when the run has failed on a peer, UnavailableError when it stands still."""
        while True:
            if self.failed:  # first: a run that has failed has ended, too
                raise PeerdError(self.failed)
            if ready():
                return
            try:
                async with asyncio.timeout_at(
                    asyncio.get_running_loop().time() + self.changed_at + STILL_SECONDS - time.monotonic()
                ):
                    await self._changed.wait()
            except TimeoutError:
                raise UnavailableError(f"the run stands still in round {self.round}") from None

    async def reached(self, number: int) -> None:
        """Until the run is in that round."""
        await self.wait(lambda: self.round >= number or not self.ended.isdisjoint(self._schedule.steady))
        if self.round < number:
            raise PeerdError(f"the run has ended before round {number}")


async def play(
    script: Play, listener: Listener, tell: Callable[[Happened], None]
) -> dict[str, runs_pb2.RunStatus]:
    """The last status of the run on every peer that was there at the end.

    Raises the errors of `peerd.errors`: PeerExitedError when a daemon ends by itself, PeerdError when the
    run fails on a peer or a step does.
    """
    spec = msgspec.structs.replace(script.spec, run_id=secrets.token_hex(16))
    progress = _Progress(script.schedule, listener)

    async def observed() -> dict[str, runs_pb2.RunStatus]:
        try:
            async with asyncio.TaskGroup() as group:
                observer = Observer(progress, spec.run_id, group)
                await _play(script, spec, progress, observer, tell)
                observer.close()
        except BaseExceptionGroup as failures:
            raise aio.first(failures) from None
        return {name: progress.runs[name] for name in script.schedule.finishers}

    return await script.testbed.while_alive(observed())


async def _play(
    script: Play, spec: RunSpec, progress: _Progress, observer: Observer, tell: Callable[[Happened], None]
) -> None:
    testbed, schedule = script.testbed, script.schedule
    started = [peer.endpoint for peer in testbed.peers if peer.alive]
    for endpoint in started:
        observer.begin(endpoint)
    await announce(testbed, started[0], spec, script.join_seconds)
    await _heard(progress, {endpoint.name for endpoint in started})
    director = Director(testbed, script.plan, schedule, observer, progress, tell, script.patience)
    finished = progress.wait(lambda: progress.ended >= set(schedule.finishers))
    await aio.together(director.play(), finished)


async def announce(testbed: Testbed, endpoint: Endpoint, spec: RunSpec, join_seconds: float) -> None:
    """By the testbed's operator, to one peer: the others hear of it from each other."""
    signer = Signer.load(testbed.operator)
    async with Client(endpoint, CALL_SECONDS) as client:
        network = (await client.status()).network
        notice = signer.started(network, spec, join_seconds)
        await client.start_run(run_spec_message(spec), notice)


async def _heard(progress: _Progress, names: set[str]) -> None:
    """UnavailableError when some of them do not hear of the run in time."""
    try:
        async with asyncio.timeout(HEARD_SECONDS):
            await progress.wait(lambda: progress.runs.keys() >= names)
    except TimeoutError:
        missing = ", ".join(sorted(names - progress.runs.keys()))
        raise UnavailableError(
            f"{missing} did not hear of the run within {HEARD_SECONDS:.0f} s of its announcement"
        ) from None
