"""One run on one peer, live: the asyncio shell that drives `Rounds` and the trainer process.

The trainer does one job at a time (train, evaluate); fragments of the others are aggregated meanwhile. A
run can be taken up again where it was left (`start_round`, `initial`), and joined late (`listening`: take
the others' model of one round, then train). A finished one still gives its last fragments to who needs them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from peerd.clock import Clock
from peerd.config import TrainingConfig
from peerd.errors import ConflictError
from peerd.layout import Layout
from peerd.learning.actions import (
    Action,
    Contribute,
    Dropped,
    Evaluate,
    Failed,
    Finished,
    RoundClosed,
    SendFragments,
    SendModel,
    Skipped,
    Stage,
    StartTraining,
)
from peerd.learning.catalog import as_here
from peerd.learning.collect import stale_rounds
from peerd.learning.encoding import make_encoding
from peerd.learning.fragment import Fragment, Vector, fragment_values
from peerd.learning.kept import Kept
from peerd.learning.ports import FragmentSink, Ledger, RunObserver, SaveRun
from peerd.learning.progress import Progress
from peerd.learning.rounds import Rounds
from peerd.learning.spent import Spent
from peerd.learning.trainer import Revive, Trainer
from peerd.learning.trainer_client import TaskError, TrainerDied
from peerd.status import RoundResult, RunStatus, TrainerStatus
from peerd.types import DropReason, PeerId, RunSpec

EARLY_LIMIT = 4096
"""Fragments kept while the trainer still starts; the others may be faster."""


class Run:
    """`await main()` is the run's life; the other methods are called from the same event loop.

    `shard` of `shards`: this peer's part of shared data, for as long as the run lasts. `others`, `members`:
    see `set_cohort`. `initial`: the model that `start_round` starts from; None: the trainer's. `announced`:
    by an operator to all peers; only kept and shown. `earlier`, `lacking`: see `Rounds`.
    """

    def __init__(
        self,
        *,
        spec: RunSpec,
        shard: int,
        shards: int,
        others: Sequence[int],
        training: TrainingConfig,
        payload_bytes: int,
        sink: FragmentSink,
        save: SaveRun,
        ledger: Ledger,
        observer: RunObserver,
        rng: random.Random,
        clock: Clock,
        log: Any,
        start_round: int = 1,
        initial: Vector | None = None,
        listening: bool = False,
        announced: bool = False,
        members: int = 0,
        earlier: Sequence[RoundResult] = (),
        lacking: bool = False,
    ) -> None:
        self.spec = spec
        self.contributes_from = 0
        """As told to the observer: the first round with fragments of this peer, 0 while it listens, -n once
        it has ended with round n, before the last."""
        self._others = tuple(others)
        self._members = members
        self._start_round = start_round
        self._initial = initial
        self._listening = listening
        self._earlier = tuple(earlier)
        self._lacking = lacking
        self._kept = Kept(
            spec, save, start_round - 1, initial, shard=shard, shards=shards, announced=announced
        )
        self._progress = Progress(
            spec,
            start_round=start_round,
            listening=listening,
            announced=announced,
            payload_bytes=payload_bytes,
        )
        self._encoding = make_encoding(spec, payload_bytes)
        self._slice_values = fragment_values(payload_bytes)
        self._sink = sink
        self._spent = Spent(spec, ledger)
        self._observer = observer
        self._rng = rng
        self._clock = clock
        self._log = log.bind(run=spec.run_id[:8])
        self._jobs: asyncio.Queue[StartTraining | Evaluate | Revive | None] = asyncio.Queue()
        here = as_here(spec, training.data_dir, announced=announced)
        self._trainer = Trainer(training, here, shard, shards, self._log, self._notify, self._jobs.put_nowait)
        self._rounds: Rounds | None = None
        self._layout: Layout | None = None
        self._early: list[Fragment] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stage = ""
        self._changed = asyncio.Event()

    # -- life -----------------------------------------------------------------

    async def main(self) -> None:
        """Until the last round is done, `stop`, or failure. Never raises for a trainer's failure."""
        try:
            await self._begin()
            while await self._do_next_job():
                pass
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
        if not self.spec.initial_run:
            self._kept.write(finished=False)
        if not self._listening:  # the others may be faster: they are to wait for it
            self._contribute(self._start_round)
        ready = await self._trainer.start(await self._spent.load())
        self._spent.epsilon = ready.epsilon
        self._observer.trainer_spent("starting", self._trainer.cpu_seconds)
        initial = ready.initial if self._initial is None else self._initial
        if initial.shape != ready.initial.shape:
            raise TaskError(f"the checkpoint has {len(initial)} values, the model {ready.parameters}")
        if self.spec.initial_run:  # not before: the earlier model is not given up for one that does not fit
            self._kept.write(finished=False)
        self._observer.model_known(ready.form)
        self._layout = self._encoding.layout(ready.parameters, ready.exact)
        self._rounds = Rounds(
            self.spec,
            self._layout,
            initial,
            self._others,
            self._clock(),
            self._rng,
            start_round=self._start_round,
            listening=self._listening,
            members=self._members,
            encoding=self._encoding,
            slices=Layout(ready.parameters, self._slice_values),
            earlier=self._earlier,
            lacking=self._lacking,
        )
        self._step(Rounds.start)
        early, self._early = self._early, []
        for fragment in early:
            self.on_fragment(fragment)

    async def _do_next_job(self) -> bool:
        """False where there is none any more. On its own, so that a model is not held while waiting."""
        match job := await self._jobs.get():
            case StartTraining() | Evaluate():
                await self._work_until_done(job)
            case Revive() if not self.ended:
                spent = self._trainer.cpu_seconds
                await self._trainer.revive()
                self._observer.trainer_spent("starting", self._trainer.cpu_seconds - spent)
        return job is not None

    async def _work_until_done(self, job: StartTraining | Evaluate) -> None:
        rounds = self._live()
        spent = self._trainer.cpu_seconds
        if isinstance(job, StartTraining):
            layout = None if self.spec.privacy_clip else self._layout  # bounded and noised as a whole
            trained = await self._trainer.train(
                job.round, job.vector, layout, self._on_final, released=self._spent.updates + 1
            )
            await self._spent.count(trained.epsilon)
            self._log.info(
                "trained",
                round=job.round,
                loss=round(trained.loss, 4),
                accuracy=round(trained.accuracy, 4),
                seconds=round(trained.seconds, 2),
            )
            self._step(
                lambda rounds, now: rounds.trained(
                    trained.update, trained.loss, trained.accuracy, trained.samples, now, trained.epsilon
                )
            )
        else:
            everything = job.whole or job.round == self.spec.rounds
            samples = 0 if everything else self.spec.test_samples
            result = await self._trainer.evaluate(job.vector, samples)
            self._step(lambda rounds, now: rounds.evaluated(result.accuracy, result.samples, now))
            now = rounds.status
            if (now.round, now.stage) != (job.round, Stage.EVALUATING):  # else it is measured once more
                measured = next(result for result in now.results if result.round == job.round)
                self._observer.round_measured(measured, job.vector)
        stage = "training" if isinstance(job, StartTraining) else "evaluating"
        self._observer.trainer_spent(stage, self._trainer.cpu_seconds - spent)

    def _on_final(self, indices: Sequence[int], update: Vector) -> None:
        self._step(lambda rounds, now: rounds.final(indices, update, now))

    # -- inputs ---------------------------------------------------------------

    def on_fragment(self, fragment: Fragment) -> None:
        """A fragment from somebody; it is checked here and in `Rounds`, never trusted."""
        if fragment.run != self.spec.wire_id:
            self._observer.dropped(DropReason.WRONG_RUN, 1)
        elif self.ended:
            self._observer.dropped(DropReason.ROUND_PAST, 1)
        elif self._rounds is not None:
            self._step(lambda rounds, now: rounds.fragment(fragment, now))
        elif len(self._early) < EARLY_LIMIT:
            self._early.append(fragment)
        else:
            self._observer.dropped(DropReason.ROUND_AHEAD, 1)

    def set_cohort(self, others: Sequence[int], members: int = 0) -> None:
        """The other peers that take part now: for each the first round with its fragments, 0 while it only
        listens. `members`: all others of the network; no index takes more fragments than that."""
        self._others, self._members = tuple(others), members
        self._step(lambda rounds, now: rounds.set_cohort(others, now, members))

    def appeared(self, peer: PeerId) -> None:
        """A peer takes part that did not, or not visibly, or it fell behind: it needs this round's
        fragments, too, and where these are deltas the model that they are from."""
        if self._rounds is None or not self._progress.is_of_use:
            return
        try:
            run = self.spec.wire_id
            if (own := self._rounds.own_fragments()) is not None:
                self._sink.deal_in(peer, own.round, own.parcels(run), len(own.pieces))
            if (base := self._rounds.base_for_newcomer()) is not None:
                self._sink.send_to(peer, base.round, base.parcels(run, base.newcomers))
        except Exception as error:
            self._broke(error)

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

    def stop(self, *, for_good: bool = True) -> None:
        """End the run on this peer; the task that awaits `main` may then be cancelled. `for_good`: the
        checkpoint says so, else the run can be taken up again, as after a crash."""
        self._step(Rounds.stop)
        if not self.ended:
            self._end("stopped")
            if for_good:
                self._kept.write(finished=True)

    # -- outputs --------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return bool(self._progress.ended)

    def status(self) -> RunStatus:
        return self._progress.status(
            None if self._rounds is None else self._rounds.status,
            self._layout,
            self._others,
            contributes_from=self.contributes_from,
            epsilon=self._spent.epsilon,
            model_digest=self._kept.digest,
        )

    def trainer_status(self) -> TrainerStatus:
        return self._trainer.status()

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
        if self._rounds is None or not self._progress.is_of_use:
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
                case SendFragments():
                    parcels = action.parcels(self.spec.wire_id)
                    self._sink.broadcast(action.round, parcels, len(action.pieces))
                    continue
                case SendModel():
                    run = self.spec.wire_id
                    slices = action.parcels(run, action.everyone)
                    self._sink.broadcast(action.round, slices, action.layout.fragments)
                    self._sink.send_to_listeners(action.round, action.parcels(run, action.newcomers))
                case Contribute(from_round=number):
                    self._contribute(number)
                case Skipped(round=number, to=there):
                    self._log.info("the others are ahead; going there", round=number, to=there)
                    self._sink.forget_before(there - stale_rounds(self.spec))
                case RoundClosed(result=result, vector=vector):
                    self._close(result.round, vector)
                    self._log.info(
                        "round closed",
                        round=result.round,
                        by=result.closed_by,
                        listened=result.listened,
                        fragments=f"{result.fragments_received}/{result.fragments_expected}",
                        exchange_seconds=round(result.exchange_seconds, 2),
                    )
                case Finished():
                    self._end("finished")
                    if self._kept.round < self.spec.rounds:
                        self._kept.write(finished=True)
                case Failed(error=error):
                    self._end("failed", error)
                    self._log.error("run failed on this peer", error=error)
                case Dropped(reason=reason, count=count):
                    self._observer.dropped(reason, count)
                    continue
            notify = True
        self._arm()
        if notify or self.status().stage != self._stage:
            self._notify()

    def _contribute(self, from_round: int) -> None:
        if from_round != self.contributes_from:
            self.contributes_from = from_round
            self._observer.contributes(from_round)

    def _close(self, number: int, vector: Vector) -> None:
        self._kept.close(number, vector)
        # Others may still wait for fragments of this round; what is older helps nobody, unless it counts.
        self._sink.forget_before(number - stale_rounds(self.spec))

    def _end(self, state: str, error: str = "") -> None:
        self._progress.end(state, error)
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
