"""This peer's part in training runs: which one, from which round on, with whom; joining, coming back.

How a peer comes to a run:

    started     an operator starts it on this peer, announced to all or not
    announced   a notice signed by an operator comes by gossip: who hears of it soon begins with round 1; who
                hears of it later listens for one round first, as soon as somebody contributes
    resumed     the daemon was restarted in the midst of one: it goes on where its checkpoint is, listens to
                where the others are by now, or trains on if there is nobody to listen to

A run that begins with the model of an earlier one (`RunSpec.initial_run`) takes it from this peer's own
checkpoints; a peer that does not have it listens, as one that comes late.

What it tells of itself is in its descriptor: the run, and the first round that has its fragments. From those
of the others it knows whose fragments to expect. A run that has finished stays: who comes back late still
gets the last fragments, until another run begins.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from peerd.addressing import Addressing
from peerd.clock import monotonic, wall
from peerd.config import TrainingConfig
from peerd.errors import ConflictError, NotFoundError, PeerdError
from peerd.keeping import RoundKeeper, RunKeeper
from peerd.learning import Fragment, Run, as_here, check_task
from peerd.learning.fragment import Vector
from peerd.membership import RunNotice, View
from peerd.observe import EventLog, Metrics, Tally
from peerd.posting import Post
from peerd.samemodel import SameModel
from peerd.status import RoundResult, RunStatus
from peerd.store import Saved
from peerd.types import DropReason, PeerId, RunSpec

SETTLING_SECONDS = 5.0
"""From the announcement of a run until all that can begin with it have said so, by gossip."""


class Participation:
    """`resume` once the daemon is up; commands and events as they come. One run at a time."""

    def __init__(
        self,
        me: PeerId,
        config: TrainingConfig,
        *,
        view: View,
        members: Callable[[], Sequence[PeerId]],
        notices: Callable[[], Sequence[RunNotice]],
        keeper: RunKeeper,
        rounds: RoundKeeper,
        post: Post,
        same: SameModel,
        tell: Callable[[bytes, int, bytes], None],
        rng: random.Random,
        tally: Tally,
        metrics: Metrics,
        events: EventLog,
        log: Any,
    ) -> None:
        """`tell`: the run, the first contributed round and the form of the model go into this peer's
        descriptor."""
        self._me = me
        self._config = config
        self._view = view
        self._members = members
        self._notices = notices
        self._keeper = keeper
        self._rounds = rounds
        self._post = post
        self._same = same
        self._tell = tell
        self._rng = rng
        self._tally = tally
        self._metrics = metrics
        self._events = events
        self._log = log
        self._spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._settles_at = -math.inf
        """Until then who takes part in our run may not have said so."""
        self._done: set[str] = set()
        """Runs that this peer has taken part in, and will not join again by itself."""
        self._leaving = False
        self._addressing: Addressing | None = None
        """The run's."""
        self.run: Run | None = None

    # -- life -----------------------------------------------------------------

    def start(self, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        """Go on with the run that the checkpoint is of, or join one that is announced."""
        self._spawn = spawn
        saved = self._keeper.load()
        if saved is not None and (saved.finished or self._is_stopped(saved.spec)):
            self._done.add(saved.spec.run_id)
            saved = None
        if saved is not None:
            self._resume(saved)
        else:
            self._consider()

    def set_config(self, config: TrainingConfig) -> None:
        """For runs that begin from now on, and for which of them to join."""
        self._config = config
        self._consider()

    def stop(self) -> None:
        self._spawn = None

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._keeper.close()
        await self._rounds.close()

    def leave(self) -> None:
        """Take part in nothing from now on; what is on its way goes on."""
        self._leaving = True
        if self.run is not None:
            self._end(self.run)
        self._depart()

    # -- commands -------------------------------------------------------------

    def claim(self, spec: RunSpec) -> None:
        """It is about to begin by command: not by its own announcement, too."""
        self._done.add(spec.run_id)

    def refuse_unless_up(self) -> None:
        """ConflictError while the peer is still starting, or leaves already."""
        if self._spawn is None or self._leaving:
            raise ConflictError("the peer is still starting, or it is leaving the network")

    async def begin(self, spec: RunSpec, *, announced: bool) -> RunStatus:
        """Take part from round 1. ConflictError while another run goes on; bad tasks and data are refused."""
        if self.run is not None and not self.run.ended and self.run.spec.run_id == spec.run_id and announced:
            return self.run.status()  # gossip was faster than the operator
        await self._make_room(spec, announced=announced)
        return (await self._begin_anew(spec, announced=announced)).status()

    async def end(self) -> RunStatus:
        run = self._live()
        await self._stop_task(run)
        return run.status()

    def pause(self) -> RunStatus:
        run = self._live()
        run.pause()
        return run.status()

    def go_on(self) -> RunStatus:
        run = self._live()
        run.resume()
        return run.status()

    def status(self) -> RunStatus:
        return self._known().status()

    def watch(self) -> AsyncIterator[RunStatus]:
        return self._known().watch()

    # -- what comes -----------------------------------------------------------

    def announced(self, notice: RunNotice) -> None:
        """An operator has announced a run, or its end."""
        run_id = notice.spec.run_id
        self._events.add(
            "run",
            "announced stopped" if notice.stopped else "announced",
            detail=f"{run_id[:8]} {notice.spec.task}, by {notice.operator}",
        )
        if notice.stopped:
            self._done.add(run_id)
            if self._spawn is not None and self.run is not None and self.run.spec.run_id == run_id:
                self._spawn(self._stop_task(self.run))
        else:
            self._consider()

    def view_changed(self) -> None:
        """Who is there, or what they take part in, has changed."""
        run, addressing = self.run, self._addressing
        if run is None or addressing is None or (run.ended and not self._lingers(run)):
            self._consider()
            return
        self._same.look()
        seen = addressing.look()
        run.set_cohort([*seen.contributes_from, *self._about_to_begin()], len(self._members()) - 1)
        for peer in addressing.meet(seen):
            run.appeared(peer)
        if run.ended:
            self._consider()

    def _about_to_begin(self) -> list[int]:
        """For each peer that has heard of the run and not said yet that it takes part: round 1. Who trained
        faster than gossip would find nobody to average with, and close its first round alone."""
        if monotonic() >= self._settles_at:
            return []
        said = [self._view.descriptor(peer) for peer in self._view.alive()]
        return [1 for descriptor in said if descriptor is not None and not descriptor.run]

    def fragment(self, fragment: Fragment) -> None:
        if self.run is None:
            self._tally.dropped(DropReason.WRONG_RUN)
        else:
            self.run.on_fragment(fragment)

    def gave_up(self, round_number: int) -> None:
        """A message of that round did not reach somebody alive."""
        if self.run is not None:
            self.run.gave_up(round_number)

    # -- the run's observer ---------------------------------------------------

    def dropped(self, reason: DropReason, count: int) -> None:
        self._tally.dropped(reason, count)

    def stage_changed(self, stage: str) -> None:
        self._metrics.stages.enter(stage)

    def contributes(self, from_round: int) -> None:
        if self.run is not None and not self._leaving:
            self._tell(self.run.spec.id_bytes, from_round, self._same.form)

    def model_known(self, form: bytes) -> None:
        if self.run is None or self._addressing is None or self._leaving:
            return
        self._addressing.model = form
        self._same.known(form)
        self._tell(self.run.spec.id_bytes, self.run.contributes_from, form)
        self.view_changed()

    def trainer_spent(self, stage: str, cpu_seconds: float) -> None:
        self._metrics.trainer_spent(stage, cpu_seconds)

    def round_measured(self, result: RoundResult, vector: Vector) -> None:
        self._metrics.round_measured(result)
        if self.run is not None:
            self._rounds.keep_model(self.run.spec, result, vector)
            self._rounds.keep_results(self.run.status())
        how = f"{result.closed_by}{', listened' if result.listened else ''}"
        self._events.add(
            "round",
            "closed",
            detail=f"{result.round} by {how}: {result.fragments_received}/{result.fragments_expected} "
            f"fragments, cohort {result.cohort}, accuracy {result.accuracy:.4f}",
        )

    # -- joining --------------------------------------------------------------

    def _consider(self) -> None:
        """Join the newest announced run that this peer has not been in, if it may and it makes sense."""
        if self._spawn is None or self._leaving or self._config.join != "announced":
            return
        if self.run is not None and not self.run.ended:
            return
        for notice in self._notices():
            if notice.stopped or notice.spec.run_id in self._done:
                continue
            late = wall() > notice.issued_at + notice.join_seconds
            others = self._view.taking_part(notice.spec.id_bytes)
            if late and not any(first > 0 for _, first in others):
                continue  # nobody to listen to: it is over, or none of them is seen yet
            self._done.add(notice.spec.run_id)
            self._spawn(self._join(notice.spec, late))
            return

    async def _join(self, spec: RunSpec, late: bool) -> None:
        try:
            await self._make_room(spec, announced=True)
            await self._begin_anew(spec, announced=True, listening=late)
        except PeerdError as error:
            self._log.warning("announced run not joined", run=spec.run_id[:8], error=str(error))
            self._events.add("run", "not joined", detail=f"{spec.run_id[:8]}: {error}")

    async def _begin_anew(self, spec: RunSpec, *, announced: bool, listening: bool = False) -> Run:
        """From round 1, with the model that the spec names, if it names one."""
        if not spec.initial_run:
            return self._begin(spec, announced=announced, listening=listening)
        initial = await self._rounds.initial(spec)
        self._refuse_while_busy()  # that took a moment
        if initial is None:
            self._lacks(spec)
        return self._begin(
            spec,
            announced=announced,
            initial=initial,
            listening=listening or initial is None,
            lacking=initial is None,
        )

    def _lacks(self, spec: RunSpec) -> None:
        self._events.add(
            "run",
            "model missing",
            detail=f"{spec.run_id[:8]} begins with round {spec.initial_round} of {spec.initial_run[:8]}, of "
            "which this peer has no checkpoint: it listens for a round to take the others' model",
        )

    def _resume(self, saved: Saved) -> None:
        try:
            self._check(saved.spec, announced=saved.announced)
        except PeerdError as error:
            self._log.error("run not resumed", run=saved.spec.run_id[:8], error=str(error))
            self._done.add(saved.spec.run_id)
            return
        lacking = bool(saved.spec.initial_run) and not len(saved.vector)
        if lacking:
            self._lacks(saved.spec)
        self._begin(
            saved.spec,
            announced=saved.announced,
            start_round=saved.round + 1,
            initial=saved.vector if len(saved.vector) else None,
            listening=True,
            place=(saved.shard, saved.shards),
            lacking=lacking,
            earlier=self._rounds.earlier(saved.spec.run_id),
        )
        self._events.add("run", "resumed", detail=f"{saved.spec.run_id[:8]} after round {saved.round}")

    async def _make_room(self, spec: RunSpec, *, announced: bool) -> None:
        self._refuse_while_busy()
        self._check(spec, announced=announced)
        if self._task is not None:  # the last run may still be ending its trainer
            await asyncio.wait({self._task})
        self._refuse_while_busy()

    def _check(self, spec: RunSpec, *, announced: bool) -> None:
        check_task(as_here(spec, self._config.data_dir, announced=announced), self._config.tasks)

    def _refuse_while_busy(self) -> None:
        self.refuse_unless_up()
        if self.run is not None and not self.run.ended:
            raise ConflictError(f"run {self.run.spec.run_id} is going on; stop it first")

    def _begin(
        self,
        spec: RunSpec,
        *,
        announced: bool,
        start_round: int = 1,
        initial: Vector | None = None,
        listening: bool = False,
        place: tuple[int, int] | None = None,
        lacking: bool = False,
        earlier: Sequence[RoundResult] = (),
    ) -> Run:
        assert self._spawn is not None
        shard, shards = place or self._place(spec)
        others = self._view.taking_part(spec.id_bytes)
        self._post.cancel(None)  # of an earlier run: tags are round numbers
        self._done.add(spec.run_id)
        addressing = Addressing(spec, self._view, self._rng, send=self._post.send, cancel=self._post.cancel)
        self.run = run = Run(
            spec=spec,
            shard=shard,
            shards=shards,
            others=[first for _, first in others],
            members=len(self._members()) - 1,
            training=self._config,
            payload_bytes=self._post.payload_bytes,
            sink=addressing,
            save=self._keeper.save,
            ledger=self._keeper,
            observer=self,
            rng=self._rng,
            clock=monotonic,
            log=self._log,
            start_round=start_round,
            initial=initial,
            listening=listening,
            announced=announced,
            earlier=earlier,
            lacking=lacking,
        )
        self._addressing = addressing
        self._settles_at = -math.inf
        if announced and not listening:
            self._settles_at = monotonic() + SETTLING_SECONDS
            asyncio.get_running_loop().call_later(SETTLING_SECONDS, self.view_changed)
        self._same.begin(spec)
        self._tell(spec.id_bytes, 0 if listening else start_round, b"")
        self._task = self._spawn(self._live_through(run))
        self.view_changed()
        how = "listens" if listening else "begins"
        self._log.info("run started", run=spec.run_id[:8], task=spec.task, round=start_round, how=how)
        self._events.add("run", how, detail=f"{spec.run_id[:8]} {spec.task}, round {start_round}")
        return run

    def _place(self, spec: RunSpec) -> tuple[int, int]:
        """This peer's shard of shared data, and how many there are: by its rank among all members."""
        ids = sorted({self._me, *self._members()})
        shards = spec.shards or len(ids)
        return ids.index(self._me) % shards, shards

    async def _live_through(self, run: Run) -> None:
        try:
            await run.main()
        finally:
            status = run.status()
            why = f"by {status.ended_by}, round {status.round}" if status.ended_by else status.error
            self._events.add("run", status.state, detail=f"{run.spec.run_id[:8]} {why}".strip())
            if status.results:
                self._rounds.keep_results(status)
            if self.run is run and not self._lingers(run):
                self._depart()
        self._consider()

    def _depart(self) -> None:
        """Take part in no run any more, and say so."""
        self._same.end()
        self._tell(b"", 0, b"")

    @staticmethod
    def _lingers(run: Run) -> bool:
        """A finished run still has what latecomers need."""
        return run.status().state == "finished"

    async def _stop_task(self, run: Run) -> None:
        run.stop()
        if self._task is not None and self.run is run:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._post.cancel(None)

    def _end(self, run: Run) -> None:
        """Without waiting, and without calling back what is on its way."""
        run.stop(for_good=False)
        if self._task is not None:
            self._task.cancel()

    def _is_stopped(self, spec: RunSpec) -> bool:
        return any(notice.stopped for notice in self._notices() if notice.spec.run_id == spec.run_id)

    # -- helpers --------------------------------------------------------------

    def _known(self) -> Run:
        if self.run is None:
            raise NotFoundError("this peer has not taken part in a run yet")
        return self.run

    def _live(self) -> Run:
        run = self._known()
        if run.ended:
            raise ConflictError(f"run {run.spec.run_id} has ended already")
        return run
