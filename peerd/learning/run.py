"""One run on one peer, live: the asyncio shell that drives `Rounds` and the trainer process.

The trainer does one job at a time (train, evaluate). When it dies, it is started again, with the same
weights and the same job, up to `max_restarts` times; fragments of the others are aggregated meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from peerd.clock import Clock
from peerd.config import TrainingConfig
from peerd.errors import ConflictError
from peerd.learning.fragment import Fragment, Layout, encode_fragment, fragment_values
from peerd.learning.rounds import (
    Action,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    Rounds,
    SendFragments,
    StartTraining,
)
from peerd.learning.trainer_client import TaskError, TrainerClient, TrainerDied, TrainerReady
from peerd.status import RoundResult, RunStatus, TrainerStatus
from peerd.types import DropReason, RunSpec

Vector = NDArray[np.float32]

EARLY_LIMIT = 4096
"""Fragments kept while the trainer still starts; the others may be faster."""


class FragmentSink(Protocol):
    """The mixnet, as a run sees it."""

    def broadcast(self, round_number: int, payloads: Sequence[bytes]) -> None:
        """Send every payload to every peer of the cohort."""

    def forget_before(self, round_number: int) -> None:
        """Cancel what is still unsent or unacknowledged of earlier rounds."""


class RunObserver(Protocol):
    """What a run tells of itself while it goes on."""

    def dropped(self, reason: DropReason) -> None:
        """A fragment was refused."""

    def stage_changed(self, stage: str) -> None:
        """training, exchanging, evaluating, paused, done"""

    def trainer_spent(self, stage: str, cpu_seconds: float) -> None:
        """The trainer has done a job."""

    def round_measured(self, result: RoundResult) -> None:
        """A round is closed and its aggregate evaluated."""


class Run:
    """`await main()` is the run's life; the other methods are called from the same event loop."""

    def __init__(
        self,
        *,
        spec: RunSpec,
        shard: int,
        shards: int,
        cohort: int,
        training: TrainingConfig,
        payload_bytes: int,
        sink: FragmentSink,
        save: Callable[[RunSpec, int, Vector], None],
        observer: RunObserver,
        rng: random.Random,
        clock: Clock,
        log: Any,
    ) -> None:
        self.spec = spec
        self._shard = shard
        self._shards = shards
        self._cohort = cohort
        self._config = training
        self._values = fragment_values(payload_bytes)
        self._sink = sink
        self._save = save
        self._observer = observer
        self._rng = rng
        self._clock = clock
        self._log = log.bind(run=spec.run_id[:8])
        self._trainer = TrainerClient(training, log=self._trainer_said)
        self._rounds: Rounds | None = None
        self._layout: Layout | None = None
        self._jobs: asyncio.Queue[StartTraining | Evaluate | None] = asyncio.Queue()
        self._early: list[Fragment] = []
        self._timer: asyncio.TimerHandle | None = None
        self._ended = ""
        self._error = ""
        self._trainer_error = ""
        self._restarts = 0
        self._digest = ""
        self._stage = ""
        self._changed = asyncio.Event()

    # -- life -----------------------------------------------------------------

    async def main(self) -> None:
        """Until the last round is done, `stop`, or failure. Never raises for a trainer's failure."""
        try:
            await self._begin()
            while (job := await self._jobs.get()) is not None:
                await self._work_until_done(job)
        except (TrainerDied, TaskError) as error:
            self._end("failed", str(error))
            self._log.error("run failed on this peer", error=str(error))
        except Exception as error:  # whatever goes wrong with training, the peer relays on
            self._broke(error)
        finally:
            await self._clean_up()

    async def _clean_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._early.clear()
        try:
            await self._trainer.close()
        except Exception as error:
            self._log.error("trainer not closed", error=str(error))
        if not self.ended:
            self._end("stopped")
        self._notify()

    def _broke(self, error: Exception) -> None:
        """A bug of ours or no memory: the run ends here, and says so."""
        self._end("failed", f"{type(error).__name__}: {error}")
        self._log.error("run failed on this peer", exc_info=error)

    async def _begin(self) -> None:
        self._notify()
        ready = await self._restarting(self._start_trainer, starts=True)
        self._observer.trainer_spent("starting", self._trainer.cpu_seconds)
        layout = Layout(ready.parameters, self._values)
        self._layout = layout
        self._rounds = Rounds(self.spec, layout, ready.initial, self._cohort, self._clock(), self._rng)
        self._step(Rounds.start)
        early, self._early = self._early, []
        for fragment in early:
            self.on_fragment(fragment)

    async def _work_until_done(self, job: StartTraining | Evaluate) -> None:
        rounds = self._live()
        spent = self._trainer.cpu_seconds
        if isinstance(job, StartTraining):
            trained = await self._restarting(lambda: self._trainer.train(job.round, job.vector))
            self._log.info(
                "trained",
                round=job.round,
                loss=round(trained.loss, 4),
                accuracy=round(trained.accuracy, 4),
                seconds=round(trained.seconds, 2),
            )
            self._step(
                lambda rounds, now: rounds.trained(
                    trained.update, trained.loss, trained.accuracy, trained.samples, now
                )
            )
        else:
            samples = 0 if job.round == self.spec.rounds else self.spec.test_samples
            result = await self._restarting(lambda: self._trainer.evaluate(job.vector, samples))
            self._step(lambda rounds, now: rounds.evaluated(result.accuracy, result.samples, now))
            self._observer.round_measured(rounds.status.results[-1])
        stage = "training" if isinstance(job, StartTraining) else "evaluating"
        self._observer.trainer_spent(stage, self._trainer.cpu_seconds - spent)

    async def _start_trainer(self) -> TrainerReady:
        return await self._trainer.start(self.spec, self._shard, self._shards)

    async def _restarting(self, attempt: Callable[[], Any], *, starts: bool = False) -> Any:
        """Do a job; when the trainer dies under it, start the trainer again and redo the job.

        `starts`: the job is itself the start.
        """
        if self._trainer.state == "dead" and not starts:
            self._count_death(TrainerDied("the trainer process died between two jobs"))
        while True:
            try:
                if self._trainer.state == "dead" and not starts:
                    await self._start_trainer()
                return await attempt()
            except TrainerDied as error:
                self._count_death(error)

    def _count_death(self, error: TrainerDied) -> None:
        """Tell of it; raise it again when there were too many."""
        self._trainer_error = str(error)
        self._log.warning("trainer died", error=str(error), restarts=self._restarts)
        if self._restarts >= self._config.max_restarts:
            raise error
        self._restarts += 1
        self._notify()

    # -- inputs ---------------------------------------------------------------

    def on_fragment(self, fragment: Fragment) -> None:
        """A fragment from somebody; it is checked here and in `Rounds`, never trusted."""
        if fragment.run != self.spec.wire_id:
            self._observer.dropped(DropReason.WRONG_RUN)
        elif self.ended:
            self._observer.dropped(DropReason.ROUND_PAST)
        elif self._rounds is not None:
            self._step(lambda rounds, now: rounds.fragment(fragment, now))
        elif len(self._early) < EARLY_LIMIT:
            self._early.append(fragment)
        else:
            self._observer.dropped(DropReason.ROUND_AHEAD)

    def set_cohort(self, cohort: int) -> None:
        """How many peers take part now, oneself included."""
        self._cohort = cohort
        self._step(lambda rounds, now: rounds.set_cohort(cohort, now))

    def gave_up(self, round_number: int) -> None:
        if self._rounds is not None:
            self._rounds.gave_up(round_number)

    def pause(self) -> None:
        self._live()
        self._step(Rounds.pause)
        self._notify()

    def resume(self) -> None:
        self._live()
        self._step(Rounds.resume)
        self._notify()

    def stop(self) -> None:
        """End the run on this peer; the task that awaits `main` may then be cancelled."""
        self._step(Rounds.stop)
        if not self.ended:
            self._end("stopped")

    # -- outputs --------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return bool(self._ended)

    def status(self) -> RunStatus:
        if self._rounds is None or self._layout is None:
            return RunStatus(
                spec=self.spec,
                state=self._ended or "starting",
                error=self._error,
                cohort=self._cohort,
                stage="done" if self.ended else "starting",
            )
        status = self._rounds.status
        return RunStatus(
            spec=self.spec,
            state=self._ended or status.state,
            error=self._error,
            round=status.round,
            stage="done" if self.ended else status.stage,
            cohort=status.cohort,
            parameters=self._layout.parameters,
            fragments=self._layout.fragments,
            fragments_received=status.fragments_received,
            fragments_expected=status.fragments_expected,
            results=status.results,
            model_digest=self._digest,
        )

    def trainer_status(self) -> TrainerStatus:
        trainer = self._trainer
        return TrainerStatus(
            state=trainer.state,
            pid=trainer.pid or 0,
            restarts=self._restarts,
            last_error=self._trainer_error,
            cpu_seconds=trainer.cpu_seconds,
            rss_bytes=trainer.rss_bytes,
        )

    async def watch(self) -> AsyncIterator[RunStatus]:
        """The present status, then one at every change, the last when the run has ended."""
        while True:
            changed = self._changed
            status = self.status()
            yield status
            if status.state in ("finished", "stopped", "failed"):
                return
            await changed.wait()

    # -- actions --------------------------------------------------------------

    def _step(self, take: Callable[[Rounds, float], list[Action]]) -> None:
        """Give the rounds an event and do what they ask for. Called from the relay's callbacks too, so
        nothing that goes wrong here may come out: it ends the run, not the daemon."""
        if self._rounds is None:
            return
        try:
            self._do(take(self._rounds, self._clock()))
        except Exception as error:
            self._broke(error)

    def _do(self, actions: list[Action]) -> None:
        notify = False
        for action in actions:
            match action:
                case StartTraining() | Evaluate():
                    self._jobs.put_nowait(action)
                case SendFragments(round=number, fragments=fragments):
                    run = self.spec.wire_id
                    self._sink.broadcast(
                        number, [encode_fragment(run, number, i, values) for i, values in fragments]
                    )
                case RoundClosed(result=result, vector=vector):
                    self._close(result.round, vector)
                    self._log.info(
                        "round closed",
                        round=result.round,
                        by=result.closed_by,
                        fragments=f"{result.fragments_received}/{result.fragments_expected}",
                        exchange_seconds=round(result.exchange_seconds, 2),
                    )
                case Finished():
                    self._end("finished")
                case Dropped(reason=reason):
                    self._observer.dropped(reason)
                    continue
            notify = True
        self._arm()
        if notify or self.status().stage != self._stage:
            self._notify()

    def _close(self, number: int, vector: Vector) -> None:
        self._digest = hashlib.sha256(vector.tobytes()).hexdigest()
        self._save(self.spec, number, vector)
        # Others may still wait for fragments of this round; what is older helps nobody.
        self._sink.forget_before(number)

    def _end(self, state: str, error: str = "") -> None:
        self._ended = state
        self._error = error or self._error
        self._jobs.put_nowait(None)

    def _live(self) -> Rounds:
        if self._rounds is None:
            raise ConflictError("the run is still starting; try again when it trains")
        return self._rounds

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = None if self._rounds is None or self.ended else self._rounds.next_deadline()
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._step(Rounds.tick)

    def _notify(self) -> None:
        self._stage = self.status().stage
        self._observer.stage_changed(self._stage)
        self._changed.set()
        self._changed = asyncio.Event()

    def _trainer_said(self, line: str) -> None:
        self._log.info("trainer", line=line)
