"""One run on one simulated peer: what `peerd.learning.Run` and its trainer do, on virtual time.

What a peer learns is noise of its own on half of what it starts from: so no two updates are the same, and who
has another model shows. Or it really learns, in no time (`Training.learner`).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from peerd.learning import Fragment, FragmentSink, Layout, Rounds, fragment_values, make_encoding
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
    StartTraining,
)
from peerd.learning.collect import stale_rounds
from peerd.learning.fragment import Vector
from peerd.learning.pieces import Pieces
from peerd.sim.settings import Learner, Training
from peerd.sim.timeline import Action as Do
from peerd.sim.timeline import Alarm
from peerd.types import DropReason, PeerId, RunSpec

EVALUATING_SECONDS = 0.05
EARLY_LIMIT = 4096
STREAMED_PARTS = 4
"""In which an update becomes final."""


class Owner(Protocol):
    """The daemon and what takes part for it."""

    @property
    def rng(self) -> random.Random: ...

    @property
    def now(self) -> float: ...

    @property
    def place(self) -> int: ...

    def after(self, seconds: float, action: Do) -> None: ...

    def alarm(self, ring: Do) -> Alarm: ...

    def noise(self, round_number: int, parameters: int) -> Vector: ...

    def dropped_fragments(self, reason: DropReason, count: int) -> None: ...

    def contributes(self, from_round: int) -> None: ...

    def keep(self, run: SimRun, round_number: int, vector: Vector, *, finished: bool) -> None: ...

    def averaged(self, run: SimRun, payload: bytes, fragment: Fragment) -> None: ...

    def run_ended(self, run: SimRun) -> None: ...


class SimRun:
    """`others`, `members`: as for `set_cohort`. `initial`: the model that `start_round` starts from."""

    def __init__(
        self,
        spec: RunSpec,
        training: Training,
        owner: Owner,
        sink: FragmentSink,
        payload_bytes: int,
        others: Sequence[int],
        members: int,
        *,
        start_round: int = 1,
        initial: Vector | None = None,
        listening: bool = False,
        announced: bool = False,
        collection: int = 0,
    ) -> None:
        self.spec = spec
        self.announced = announced
        self.collection = collection
        """Its number in the ledger."""
        self.encoding = make_encoding(spec, payload_bytes)
        self.layout = self.encoding.layout(training.parameters)
        self.slices = Layout(training.parameters, fragment_values(payload_bytes))
        """Of models."""
        self.others = tuple(others)
        self.members = members
        self.contributes_from = 0
        self.updates: dict[int, Vector] = {}
        self.sent: dict[int, Pieces] = {}
        """The updates as they travel."""
        self.models: dict[int, Vector] = {}
        """All by round."""
        self.state = ""
        """finished, failed or stopped; empty while it goes on."""
        self.rounds: Rounds | None = None
        self.skips: list[tuple[int, int]] = []
        self._training = training
        self._learner: Learner | None = None
        self._owner = owner
        self._sink = sink
        self.start_round = start_round
        self.initial = initial
        self.listening = listening
        """At first."""
        self._kept: tuple[int, Vector] = (
            start_round - 1,
            np.zeros(0, np.float32) if initial is None else initial,
        )
        self._jobs: deque[StartTraining | Evaluate] = deque()
        self._working = False
        self._early: list[tuple[bytes, Fragment]] = []
        self._alarm = owner.alarm(lambda: self._step(Rounds.tick))

    def begin(self) -> None:
        self._keep(finished=False)
        if not self.listening:
            self._contribute(self.start_round)
        self._owner.after(self._owner.rng.uniform(*self._training.start), self._started)

    def _started(self) -> None:
        if self.ended:
            return
        if self._training.learner is not None:
            self._learner = self._training.learner(self.spec, self._owner.place)
        fresh = (
            np.zeros(self._training.parameters, np.float32)
            if self._learner is None
            else self._learner.vector()
        )
        initial = fresh if self.initial is None else self.initial
        self.rounds = Rounds(
            self.spec,
            self.layout,
            initial,
            self.others,
            self._owner.now,
            self._owner.rng,
            start_round=self.start_round,
            listening=self.listening,
            members=self.members,
            encoding=self.encoding,
            slices=self.slices,
        )
        self._step(Rounds.start)
        early, self._early = self._early, []
        for payload, fragment in early:
            self.on_fragment(payload, fragment)

    # -- inputs ---------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return bool(self.state)

    def on_fragment(self, payload: bytes, fragment: Fragment) -> None:
        """`payload` is what it was read from."""
        if fragment.run != self.spec.wire_id:
            self._owner.dropped_fragments(DropReason.WRONG_RUN, 1)
        elif self.ended:
            self._owner.dropped_fragments(DropReason.ROUND_PAST, 1)
        elif self.rounds is None:
            if len(self._early) < EARLY_LIMIT:
                self._early.append((payload, fragment))
            else:
                self._owner.dropped_fragments(DropReason.ROUND_AHEAD, 1)
        else:
            actions = self.rounds.fragment(fragment, self._owner.now)
            if not self._is_refused(fragment, actions):
                self._owner.averaged(self, payload, fragment)
            self._do(actions)

    def _is_refused(self, fragment: Fragment, actions: list[Action]) -> bool:
        """Otherwise it was taken in, perhaps in the place of others."""
        match actions:
            case [Dropped(reason=DropReason.ROUND_AHEAD)]:
                return fragment.round > self.spec.rounds
            case [Dropped()]:
                return True
        return False

    def set_cohort(self, others: Sequence[int], members: int) -> None:
        self.others, self.members = tuple(others), members
        self._step(lambda rounds, now: rounds.set_cohort(others, now, members))

    def appeared(self, peer: PeerId) -> None:
        """It needs this round's fragments, too, and with deltas the model that they are from."""
        if self.rounds is None or self.state not in ("", "finished"):
            return
        run = self.spec.wire_id
        if (own := self.rounds.own_fragments()) is not None:
            self._sink.deal_in(peer, own.round, own.parcels(run), len(own.pieces))
        if (base := self.rounds.base_for_newcomer()) is not None:
            self._sink.send_to(peer, base.round, base.parcels(run, base.newcomers))

    def gave_up(self, round_number: int) -> None:
        if self.rounds is not None:
            self.rounds.gave_up(round_number)

    def stop(self, *, for_good: bool = True) -> None:
        self._step(Rounds.stop)
        if not self.ended:
            self._end("stopped")
            if for_good:
                self._keep(finished=True)

    # -- outputs --------------------------------------------------------------

    def _step(self, take: Callable[[Rounds, float], list[Action]]) -> None:
        if self.rounds is not None and self.state in ("", "finished"):
            self._do(take(self.rounds, self._owner.now))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartTraining() | Evaluate():
                    self._jobs.append(action)
                    self._work()
                case SendFragments():
                    self.sent[action.round] = action.pieces
                    parcels = action.parcels(self.spec.wire_id)
                    self._sink.broadcast(action.round, parcels, len(action.pieces))
                case SendModel():
                    run = self.spec.wire_id
                    slices = action.parcels(run, action.everyone)
                    self._sink.broadcast(action.round, slices, action.layout.fragments)
                    self._sink.send_to_listeners(action.round, action.parcels(run, action.newcomers))
                case Contribute(from_round=number):
                    self._contribute(number)
                case Skipped(round=number, to=there):
                    self.skips.append((number, there))
                    self._sink.forget_before(there - stale_rounds(self.spec))
                case RoundClosed(result=result, vector=vector):
                    self.models[result.round] = vector
                    self._kept = (result.round, vector)
                    self._keep(finished=result.round == self.spec.rounds)
                    self._sink.forget_before(result.round - stale_rounds(self.spec))
                case Finished():
                    self._end("finished")
                    if self._kept[0] < self.spec.rounds:
                        self._keep(finished=True)
                case Failed():
                    self._end("failed")
                case Dropped(reason=reason, count=count):
                    self._owner.dropped_fragments(reason, count)
        assert self.rounds is not None
        self._alarm.set(None if self.ended else self.rounds.next_deadline())

    def _contribute(self, from_round: int) -> None:
        if from_round != self.contributes_from:
            self.contributes_from = from_round
            self._owner.contributes(from_round)

    def _keep(self, *, finished: bool) -> None:
        self._owner.keep(self, *self._kept, finished=finished)

    def _end(self, state: str) -> None:
        self.state = state
        self._owner.after(0.0, lambda: self._owner.run_ended(self))

    # -- the trainer ------------------------------------------------------------

    def _work(self) -> None:
        """One job at a time."""
        if self._working or not self._jobs or self.ended:
            return
        self._working = True
        job = self._jobs.popleft()
        if isinstance(job, StartTraining):
            seconds = self._owner.rng.uniform(*self._training.seconds)
            update, accuracy = self._train(job)
            self._stream(update, seconds)
            self._owner.after(seconds, lambda: self._trained(job, update, accuracy))
        else:
            self._owner.after(EVALUATING_SECONDS, lambda: self._evaluated(job))

    def _stream(self, update: Vector, seconds: float) -> None:
        """Parts of the update are final before training is over."""
        if not self.spec.streaming:
            return
        order = list(range(self.layout.fragments))
        self._owner.rng.shuffle(order)
        for part in range(1, STREAMED_PARTS):
            when = seconds * (1.0 - self.spec.streaming * (1.0 - part / STREAMED_PARTS))
            self._owner.after(when, self._final(order[part - 1 :: STREAMED_PARTS], update))

    def _final(self, indices: Sequence[int], update: Vector) -> Do:
        def act() -> None:
            if not self.ended:
                self._step(lambda rounds, now: rounds.final(indices, update, now))

        return act

    def _train(self, job: StartTraining) -> tuple[Vector, float]:
        if self._learner is not None:
            update, measured = self._learner.train(job.round, job.vector)
            return update, measured.accuracy
        noise = self._owner.noise(job.round, self._training.parameters)
        return (0.5 * job.vector + noise).astype(np.float32), 0.9

    def _trained(self, job: StartTraining, update: Vector, accuracy: float) -> None:
        self._working = False
        self.updates[job.round] = update
        self._step(lambda rounds, now: rounds.trained(update, 0.1, accuracy, 10, now))
        self._work()

    def _evaluated(self, job: Evaluate) -> None:
        self._working = False
        accuracy, samples = 0.5, 10
        if self._learner is not None:
            measured = self._learner.evaluate(job.vector, 0)
            accuracy, samples = measured.accuracy, measured.samples
        self._step(lambda rounds, now: rounds.evaluated(accuracy, samples, now))
        self._work()
