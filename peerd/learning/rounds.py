"""The rounds of one run on one peer: a state machine without IO.

    stage        leaves on                        to            doing so it asks for
    starting     start                            training      StartTraining
    training     trained                          exchanging    SendFragments
    exchanging   complete | grace | timeout       evaluating    RoundClosed, Evaluate
    evaluating   evaluated, more rounds to come   training      StartTraining
    evaluating   evaluated, last round            done          Finished
    any          stop                             done          nothing

A pause is served between two stages: the stage goes on to its end, then `paused` holds the next one back
until `resume`. How the exchange ends:

    complete   every index has a fragment from each other peer of the cohort
    grace      the quorum was there, and then `grace_seconds` passed
    timeout    `round_timeout_seconds` passed since the own fragments were sent

Peers are not in step. Fragments of the current round count from its beginning, also while this peer still
trains; those of the next round wait in a second mean; older and newer ones are dropped. A fragment names
no sender, so the cohort's size bounds how many an index accepts: that keeps out late duplicates, and an
attacker who floods one round can spoil that round but not use memory.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from peerd.clock import earliest
from peerd.learning.aggregate import Mean
from peerd.learning.fragment import Fragment, Layout, Vector, cut
from peerd.status import RoundResult
from peerd.types import DropReason, RunSpec

KEPT_RESULTS = 1_000
"""Closed rounds whose results are remembered."""


class Stage(StrEnum):
    STARTING = "starting"
    TRAINING = "training"
    EXCHANGING = "exchanging"
    EVALUATING = "evaluating"
    PAUSED = "paused"
    DONE = "done"


@dataclass(frozen=True, slots=True, eq=False)
class StartTraining:
    """Train from `vector`, then call `trained`."""

    round: int
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class SendFragments:
    """Send each (index, values) to every other peer, in this random order."""

    round: int
    fragments: tuple[tuple[int, Vector], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RoundClosed:
    """`vector` is the aggregate, the model that the next round starts from. Sends of earlier rounds can
    be cancelled now; those of this round may still be missing elsewhere."""

    result: RoundResult
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Evaluate:
    """Measure the aggregate on the test set, then call `evaluated`."""

    round: int
    vector: Vector


@dataclass(frozen=True, slots=True)
class Finished:
    """All rounds are done."""


@dataclass(frozen=True, slots=True)
class Dropped:
    reason: DropReason


Action = StartTraining | SendFragments | RoundClosed | Evaluate | Finished | Dropped


@dataclass(frozen=True, slots=True)
class RoundsStatus:
    state: str
    """starting, running, paused, finished, stopped; paused as soon as a pause is asked for"""
    round: int
    """The current one, from 1."""
    stage: Stage
    cohort: int
    fragments_received: int
    """In this round, at most one from each other peer for each index."""
    fragments_expected: int
    results: tuple[RoundResult, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    update: Vector
    loss: float
    accuracy: float
    samples: int
    seconds: float


class Rounds:
    """Methods take events with `now` (monotonic seconds) and return what is to be done, in order."""

    def __init__(
        self,
        spec: RunSpec,
        layout: Layout,
        initial: Vector,
        cohort: int,
        now: float,
        rng: random.Random,
    ) -> None:
        self._spec = spec
        self._layout = layout
        self._rng = rng
        self._others = max(1, cohort) - 1
        self._round = 1
        self._stage = Stage.STARTING
        self._held = Stage.STARTING
        """While paused: the stage that `resume` enters."""
        self._pausing = False
        self._stopped = False
        self._closed = False
        self._mean = Mean(layout, self._others)
        self._ahead = Mean(layout, self._others)
        self._own: _Trained | None = None
        self._round_began = now
        self._sent_at = now
        self._grace_at: float | None = None
        self._gave_up = 0
        self._results: tuple[RoundResult, ...] = ()
        self.model = _frozen(initial)
        """The last aggregate; before the first, the initial model."""

    # -- state ----------------------------------------------------------------

    @property
    def status(self) -> RoundsStatus:
        return RoundsStatus(
            state=self._state(),
            round=self._round,
            stage=self._stage,
            cohort=self._others + 1,
            fragments_received=self._mean.received(self._others),
            fragments_expected=self._expected(),
            results=self._results,
        )

    def _state(self) -> str:
        if self._stage is Stage.DONE:
            return "stopped" if self._stopped else "finished"
        if self._stage is Stage.STARTING:
            return "starting"
        return "paused" if self._pausing else "running"

    def next_deadline(self) -> float | None:
        """When `tick` is due. None: only an event leads on."""
        if self._stage is not Stage.EXCHANGING:
            return None
        return earliest(self._timeout_at(), self._grace_at)

    # -- the operator's events ------------------------------------------------

    def start(self, now: float) -> list[Action]:
        return self._enter(Stage.TRAINING, now) if self._stage is Stage.STARTING else []

    def pause(self, now: float) -> list[Action]:
        """Wait at the end of the present stage."""
        self._pausing = True
        return []

    def resume(self, now: float) -> list[Action]:
        self._pausing = False
        return self._enter(self._held, now) if self._stage is Stage.PAUSED else []

    def stop(self, now: float) -> list[Action]:
        if self._stage is not Stage.DONE:
            self._stage, self._stopped = Stage.DONE, True
        return []

    # -- the trainer's events -------------------------------------------------

    def trained(
        self, update: Vector, loss: float, accuracy_local: float, samples: int, now: float
    ) -> list[Action]:
        """The trained model, shape (parameters,), finite; samples: how many it was trained on."""
        if self._stage is not Stage.TRAINING:
            return []
        seconds = now - self._round_began
        self._own = _Trained(_frozen(update), loss, accuracy_local, samples, seconds)
        return self._enter(Stage.EXCHANGING, now)

    def evaluated(self, accuracy: float, test_samples: int, now: float) -> list[Action]:
        if self._stage is not Stage.EVALUATING:
            return []
        self._amend(self._round, accuracy=accuracy, test_samples=test_samples)
        if self._round >= self._spec.rounds:
            return self._enter(Stage.DONE, now)
        self._round += 1
        self._mean, self._ahead = self._ahead, Mean(self._layout, self._others)
        self._closed = False
        self._own = None
        self._gave_up = 0
        return self._enter(Stage.TRAINING, now)

    # -- the network's events -------------------------------------------------

    def fragment(self, fragment: Fragment, now: float) -> list[Action]:
        """A stranger's fragment: averaged in, or dropped for a reason."""
        mean = self._mean_for(fragment)
        reason = mean if isinstance(mean, DropReason) else mean.add(fragment.index, fragment.values)
        if reason is not None:
            return [Dropped(reason)]
        return self.tick(now) if mean is self._mean else []

    def _mean_for(self, fragment: Fragment) -> Mean | DropReason:
        if fragment.run != self._spec.wire_id:
            return DropReason.WRONG_RUN
        if self._stage is Stage.DONE or fragment.round < self._round + self._closed:
            return DropReason.ROUND_PAST
        if fragment.round == self._round:
            return self._mean
        if fragment.round == self._round + 1 <= self._spec.rounds:
            return self._ahead
        return DropReason.ROUND_AHEAD

    def set_cohort(self, cohort: int, now: float) -> list[Action]:
        """How many peers take part now, oneself included. What is expected follows at once. What is
        accepted does not shrink within a round, or a dead peer's fragments would displace a live one's.
        """
        self._others = max(1, cohort) - 1
        for mean in (self._mean, self._ahead):
            mean.limit = max(mean.limit, self._others)
        return self.tick(now)

    def gave_up(self, round_number: int) -> None:
        """A fragment of that round did not reach somebody. Only counted: closing never waits for it."""
        if round_number == self._round and not self._closed:
            self._gave_up += 1
            return
        for result in self._results:
            if result.round == round_number:
                self._amend(round_number, gave_up=result.gave_up + 1)

    def tick(self, now: float) -> list[Action]:
        """Close the exchange if it is over."""
        if self._stage is not Stage.EXCHANGING:
            return []
        received, expected = self._mean.received(self._others), self._expected()
        if received >= expected:
            return self._close("complete", now)
        if received < self._spec.quorum * expected:
            self._grace_at = None
        elif self._grace_at is None:
            self._grace_at = now + self._spec.grace_seconds
        if self._grace_at is not None and now >= self._grace_at:
            return self._close("grace", now)
        if now >= self._timeout_at():
            return self._close("timeout", now)
        return []

    # -- stages ---------------------------------------------------------------

    def _enter(self, stage: Stage, now: float) -> list[Action]:
        if self._pausing and stage is not Stage.DONE:
            self._stage, self._held = Stage.PAUSED, stage
            return []
        self._stage = stage
        match stage:
            case Stage.TRAINING:
                self._measure_round(now)
                return [StartTraining(self._round, self.model)]
            case Stage.EXCHANGING:
                return self._exchange(now)
            case Stage.EVALUATING:
                return [Evaluate(self._round, self.model)]
            case _:
                self._measure_round(now)
                return [Finished()]

    def _measure_round(self, now: float) -> None:
        """A round lasts until the next one begins to train; the last one until the end."""
        if self._results:
            self._amend(self._results[-1].round, round_seconds=now - self._round_began)
        self._round_began = now

    def _exchange(self, now: float) -> list[Action]:
        self._sent_at = now
        self._grace_at = None
        fragments = list(cut(self._trained().update, self._layout))
        self._rng.shuffle(fragments)
        return [SendFragments(self._round, tuple(fragments)), *self.tick(now)]

    def _close(self, by: str, now: float) -> list[Action]:
        own = self._trained()
        self.model = _frozen(self._mean.result(own.update))
        self._closed = True
        result = RoundResult(
            round=self._round,
            train_seconds=own.seconds,
            exchange_seconds=now - self._sent_at,
            closed_by=by,
            cohort=self._others + 1,
            fragments_received=self._mean.received(self._others),
            fragments_expected=self._expected(),
            gave_up=self._gave_up,
            train_loss=own.loss,
            accuracy_local=own.accuracy,
            train_samples=own.samples,
        )
        self._results = (*self._results, result)[-KEPT_RESULTS:]
        return [RoundClosed(result, self.model), *self._enter(Stage.EVALUATING, now)]

    # -- helpers --------------------------------------------------------------

    def _expected(self) -> int:
        return self._others * self._layout.fragments

    def _timeout_at(self) -> float:
        return self._sent_at + self._spec.round_timeout_seconds

    def _trained(self) -> _Trained:
        if self._own is None:
            raise RuntimeError("the exchange needs the own update")
        return self._own

    def _amend(self, round_number: int, **changes: float) -> None:
        self._results = tuple(
            msgspec.structs.replace(result, **changes) if result.round == round_number else result
            for result in self._results
        )


def _frozen(vector: Vector) -> Vector:
    """A read-only view: actions hand out the vector itself, not copies."""
    view = vector.view()
    view.setflags(write=False)
    return view
