"""What an operator can have a node do, and what it then says of itself: the surface of the control API.

Nothing is decided here: each command goes to the part of the node that it concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from peerd.config import MixingConfig
from peerd.draining import Drain
from peerd.enrolment import EnrolmentServer
from peerd.errors import InvalidInputError
from peerd.keeping import RoundKeeper
from peerd.learning.fragment import Vector
from peerd.members import Members
from peerd.membership import Roster, run_record
from peerd.mixing import Mixing
from peerd.observe import EventLog, PageState, Sample
from peerd.participation import Participation
from peerd.reconfiguring import Reconfiguration
from peerd.report import Report
from peerd.status import (
    CheckpointStatus,
    DrainProgress,
    Event,
    MixingMeasured,
    NodeStatus,
    PeerStatus,
    RunStatus,
)
from peerd.types import RunSpec

TELL_SECONDS = 0.1
"""For those who watch a drain to hear of its end before the daemon ends."""


class Commands:
    """Of one node, from its start on. All of them on the event loop."""

    def __init__(
        self,
        members: Members,
        participation: Participation,
        rounds: RoundKeeper,
        mixing: Mixing,
        enrolment: EnrolmentServer,
        report: Report,
        events: EventLog,
        drain: Drain,
        reconfiguration: Reconfiguration,
        *,
        address: Callable[[], str],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        stop: Callable[[], None],
    ) -> None:
        """`address` is where others dial this peer. `spawn` raises ConflictError while it is not up. `stop`
        ends the daemon."""
        self._members = members
        self._participation = participation
        self._rounds = rounds
        self._mixing = mixing
        self._enrolment = enrolment
        self._report = report
        self._events = events
        self._drain = drain
        self.configuration = reconfiguration
        self._address = address
        self._spawn = spawn
        self._stop = stop
        self._leaving: asyncio.Task[None] | None = None

    # -- mixing -----------------------------------------------------------------

    @property
    def mixing(self) -> MixingConfig:
        return self._mixing.config

    async def set_mixing(self, preset: str, changes: dict[str, Any]) -> MixingConfig:
        """Apply a preset (empty: none), then some fields; the effective whole is returned."""
        async with self.configuration.lock:
            return self._mixing.change(preset, changes)

    # -- runs -------------------------------------------------------------------

    async def start_run(self, spec: RunSpec, signed: bytes = b"") -> RunStatus:
        """Take part in a run. With `signed` (an encoded SignedRun) it is announced to all peers."""
        self._participation.refuse_unless_up()
        if signed:
            self._participation.claim(spec)
            self._announce(signed, spec, stopped=False)
        return await self._participation.begin(spec, announced=bool(signed))

    async def stop_run(self, signed: bytes = b"") -> RunStatus:
        status = self._participation.status()
        if signed:
            self._announce(signed, status.spec, stopped=True)
            if self._participation.status().state in ("stopped", "finished", "failed"):
                return self._participation.status()
        return await self._participation.end()

    def _announce(self, signed: bytes, spec: RunSpec, *, stopped: bool) -> None:
        record = run_record(signed) or b""
        notice = self._members.read_notice(record)
        if notice.spec.run_id != spec.run_id or notice.stopped is not stopped:
            raise InvalidInputError("notice: it is of another run")
        self._members.publish([record])

    def pause_run(self) -> RunStatus:
        return self._participation.pause()

    def resume_run(self) -> RunStatus:
        return self._participation.go_on()

    def run_status(self) -> RunStatus:
        return self._participation.status()

    async def past_run(self, run_id: str) -> RunStatus:
        """One that this peer took part in, or still does, as it stood after the last measurement."""
        return await self._rounds.past(run_id)

    async def checkpoints(self, run_id: str) -> list[CheckpointStatus]:
        return await self._rounds.entries(run_id)

    async def model(self, run_id: str, round_number: int, *, best: bool) -> tuple[CheckpointStatus, Vector]:
        """Of a closed round, with its model; of the newest run and round where nothing is said."""
        return await self._rounds.read(run_id, round_number, best=best)

    def watch_run(self) -> AsyncIterator[RunStatus]:
        return self._participation.watch()

    # -- membership -------------------------------------------------------------

    @property
    def roster(self) -> Roster:
        """Who belongs to the network, and who does not any more."""
        return self._members.roster

    def publish(self, records: Sequence[bytes]) -> int:
        """Records that the authority has signed: they spread from here. How many were news here."""
        return self._members.publish(records)

    async def invite(self, name: str, expires_in: float) -> str:
        """A join token of this peer, which must be a delegate. `name`: the only one it is good for."""
        return await self._enrolment.invite(name, expires_in, self._address())

    async def drain(self, seconds: float, *, stay: bool) -> AsyncIterator[DrainProgress]:
        """Leave politely: see `Drain`. The daemon ends after it, unless it is to stay."""
        if self._leaving is None:
            self._leaving = self._spawn(self._leave(seconds, stay))
        async for progress in self._drain.watch():
            yield progress

    async def _leave(self, seconds: float, stay: bool) -> None:
        """Whether anybody watches or not."""
        self._events.add("node", await self._drain.run(seconds))
        await asyncio.sleep(TELL_SECONDS)
        if not stay:
            self._stop()

    def leave(self, seconds: float) -> None:
        """As `drain`, and end the daemon after `seconds` whatever an operator has asked of it before."""
        if self._leaving is None:
            self._leaving = self._spawn(self._leave(seconds, stay=True))
        self._spawn(self._stop_after(self._leaving, seconds))

    async def _stop_after(self, leaving: asyncio.Task[None], seconds: float) -> None:
        await asyncio.wait({leaving}, timeout=seconds + TELL_SECONDS)
        self._stop()

    # -- what it says of itself ---------------------------------------------------

    def watch_events(self, last: int, *, follow: bool) -> AsyncIterator[Event]:
        return self._events.watch(last, follow=follow)

    def status(self) -> NodeStatus:
        return self._report.status(self.mixing, self._participation.run, draining=self._leaving is not None)

    def peers(self) -> list[PeerStatus]:
        return self._report.peers()

    def mixing_measured(self) -> MixingMeasured:
        return self._report.measured(self.mixing)

    def sample(self) -> Sample:
        return self._report.sample(self.mixing, self._participation.run, draining=self._leaving is not None)

    def page(self) -> PageState:
        return self._report.page(self.mixing, self._participation.run, draining=self._leaving is not None)
