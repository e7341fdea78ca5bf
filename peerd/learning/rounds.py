"""The rounds of one run on one peer: a state machine without IO.

    stage        leaves on                            to            doing so it asks for
    starting     start                                training      Contribute, StartTraining
    starting     start, to listen first               listening     nothing
    listening    complete | grace | timeout           evaluating    RoundClosed, Contribute, Evaluate
    listening    left behind                          listening     Skipped, Contribute
    listening    nobody contributes                   training      Contribute, StartTraining
    training     fragments are final                  training      SendFragments
    listening    timeout, last round, no base         done          Failed
    training     trained                              exchanging    SendFragments
    training     trained, the others are ahead        listening     Skipped, Contribute
    exchanging   complete | grace | timeout           evaluating    RoundClosed, Evaluate
    exchanging   left behind                          listening     Skipped, Contribute
    evaluating   evaluated, more rounds to come       training      StartTraining
    evaluating   evaluated, the others are ahead      listening     Skipped, Contribute
    evaluating   evaluated, to be ended early         evaluating    Evaluate, on all test samples
    evaluating   evaluated, last round                done          Contribute, SendModel, Finished
    any          stop                                 done          nothing

A pause is served between two stages: the stage goes on to its end, then `paused` holds the next one back
until `resume`. How a round ends (complete, grace, timeout): see `waiting`; what this peer gives to it: `own`.
Which round is the last, `stopping` says: that of the run, or an earlier one by this peer's own measurement.
The model that the run ends with is measured on all test samples, so where an earlier decision rests on some
of them there is a second evaluation. The others are told that nothing comes of later rounds.

Who listens has no own update in the mean. That is how a newcomer, or a peer that was away, gets the model:
it takes the mean of the others in the round that they are in, which is the very one that they compute, and
contributes from the next round on.

Nobody leads, and peers are not in step. When a quorum's fragments of later rounds have come, the others are
*ahead*: an update for this round would be too late for them, and is neither sent (unless late ones count,
`RunSpec.stale`) nor trained for. A peer that waits is *left behind* if moreover its own round has no quorum,
or, where it only listens, less than theirs; else it lacks but what is still on its way. See `collect`, also
for why two halves that were apart end in one round.

Where deltas are exchanged, who listens needs also the model that the round starts from: those who have it
send slices of it (SendModel), and a listener that still lacks some goes from evaluating to listening. In the
last round those who have closed it send slices of the model that it led to, and a listener takes that, once
it has what else is expected; it waits for one of the two, and if neither comes its run has failed. See
`models`. Who lacks the model that the whole run starts from (`RunSpec.initial_run`) listens, too, and never
goes on alone: what it would train from is another model.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from peerd.layout import Layout
from peerd.learning.actions import (
    Action,
    Dropped,
    Evaluate,
    Failed,
    Finished,
    RoundClosed,
    RoundsStatus,
    SendFragments,
    SendModel,
    Skipped,
    Stage,
    StartTraining,
)
from peerd.learning.collect import Collected, Others, stale_rounds
from peerd.learning.contribution import Contribution
from peerd.learning.encoding import Encoding, Float32
from peerd.learning.fragment import WIRE_FLOAT, Fragment, Vector
from peerd.learning.models import Models
from peerd.learning.own import Own, Trained
from peerd.learning.results import Results
from peerd.learning.sharing import Sharing
from peerd.learning.stopping import Stopping
from peerd.learning.waiting import Standing, Waiting
from peerd.status import RoundResult
from peerd.types import DropReason, RunSpec


class Rounds:
    """Methods take events with `now` (monotonic seconds) and return what is to be done, in order.

    `contributors`, `members`: as for `set_cohort`. `initial`: the model that `start_round` starts from.
    `listening`: take the others' model first. ValueError where `start_round` is none of the run's.
    `layout` is that of `encoding`, `slices` how whole models are cut; as float32 where nothing is said.
    `earlier`: what became of rounds before a restart. `lacking`: `initial` is not the model that the run
    starts from.
    """

    def __init__(
        self,
        spec: RunSpec,
        layout: Layout,
        initial: Vector,
        contributors: Iterable[int],
        now: float,
        rng: random.Random,
        *,
        start_round: int = 1,
        listening: bool = False,
        members: int = 0,
        encoding: Encoding | None = None,
        slices: Layout | None = None,
        earlier: Iterable[RoundResult] = (),
        lacking: bool = False,
    ) -> None:
        if not 1 <= start_round <= spec.rounds:
            raise ValueError(f"round {start_round} of {spec.rounds}")
        self._spec = spec
        self._layout = layout
        self._rng = rng
        encoding = encoding or Float32(layout.fragment_values * WIRE_FLOAT.itemsize)
        slices = slices or layout
        self._first = Stage.LISTENING if listening else Stage.TRAINING
        self._collected = Collected(
            spec, layout, Others(contributors), start_round, members, encoding=encoding, slices=slices
        )
        self._models = Models(
            spec, layout, initial, encoding=encoding, slices=slices, based=not listening, rng=rng
        )
        self._round = start_round
        self._stage = Stage.STARTING
        self._held = Stage.STARTING
        """While paused: the stage that `resume` enters."""
        self._pausing = False
        self._ended = "finished"
        """How, once it has."""
        self._closed = False
        self._contribution = Contribution(spec)
        self._own = Own(start_round, layout, self._models, rng)
        self._sharing = Sharing(spec, self._models, self._collected)
        self._waiting = Waiting(spec, now)
        self._skipped = 0
        self._results = Results(now)
        self._stopping = Stopping(spec, earlier)
        self._ended_by = ""
        self._lacking = lacking

    # -- state ----------------------------------------------------------------

    @property
    def model(self) -> Vector:
        """The last aggregate; before the first, the initial model."""
        return self._models.model

    @property
    def status(self) -> RoundsStatus:
        others = self._collected.others
        contributing = others.contributing(self._round)
        received = self._collected.received(self._round)
        return RoundsStatus(
            state=self._state(),
            round=self._round,
            stage=self._stage,
            cohort=contributing + self._contribution.includes(self._round),
            listeners=others.present(self._round) - contributing,
            contributes_from=self._contribution.from_round,
            rounds_skipped=self._skipped,
            fragments_received=self._results.last.fragments_received if self._closed else received,
            fragments_expected=self._collected.expected(self._round),
            results=self._results.all,
            ended_by=self._ended_by if self._stage is Stage.DONE else "",
        )

    def _state(self) -> str:
        if self._stage is Stage.DONE:
            return self._ended
        if self._stage is Stage.STARTING:
            return "starting"
        return "paused" if self._pausing else "running"

    def next_deadline(self) -> float | None:
        """When `tick` is due. None: only an event leads on."""
        if not self._waits() or (self._lacking and not self._collected.others.heard_from(self._round)):
            return None
        return self._waiting.deadline

    def own_fragments(self) -> SendFragments | None:
        """For a peer that has just appeared: this peer's fragments of the present round, if they are on
        their way to the others or were, in a new random order."""
        return self._own.again() if self._ended == "finished" else None

    def base_for_newcomer(self) -> SendModel | None:
        """For a peer that has just appeared, or fell behind: some slices of the model that the present round
        starts from, or the next one, if deltas are exchanged and this peer has it; after the last round as
        if there were one more."""
        if self._stage in (Stage.STARTING, Stage.LISTENING) or self._ended != "finished":
            return None
        return self._sharing.to_newcomer(self._round + 1 if self._closed else self._round)

    # -- the operator's events ------------------------------------------------

    def start(self, now: float) -> list[Action]:
        return self._enter(self._first, now) if self._stage is Stage.STARTING else []

    def pause(self, now: float) -> list[Action]:
        """Wait at the end of the present stage."""
        self._pausing = True
        return []

    def resume(self, now: float) -> list[Action]:
        self._pausing = False
        return self._enter(self._held, now) if self._stage is Stage.PAUSED else []

    def stop(self, now: float) -> list[Action]:
        if self._stage is not Stage.DONE:
            self._stage, self._ended = Stage.DONE, "stopped"
        return []

    # -- the trainer's events -------------------------------------------------

    def final(self, indices: Iterable[int], update: Vector, now: float) -> list[Action]:
        """Training goes on, but will not change these fragments of `update`, shape (parameters,), any more:
        they are finite, and are sent."""
        if self._stage is not Stage.TRAINING or not self._is_useful():
            return []
        return self._own.send(update, indices)

    def trained(
        self,
        update: Vector,
        loss: float,
        accuracy_local: float,
        samples: int,
        now: float,
        epsilon: float | None = None,
    ) -> list[Action]:
        """The trained model, shape (parameters,), finite; samples: how many it was trained on; epsilon: what
        the run has cost this peer with it."""
        if self._stage is not Stage.TRAINING:
            return []
        seconds = now - self._results.began
        self._own.trained(update, Trained(loss, accuracy_local, samples, seconds, epsilon))
        return self._enter(Stage.EXCHANGING, now)

    def evaluated(self, accuracy: float, test_samples: int, now: float) -> list[Action]:
        if self._stage is not Stage.EVALUATING:
            return []
        self._results.amend(self._round, accuracy=accuracy, test_samples=test_samples)
        if not self._ended_by:
            self._ended_by = self._stopping.measured(self._round, accuracy)
            if self._ended_by and self._spec.test_samples and self._round < self._spec.rounds:
                return [Evaluate(self._round, self.model, whole=True)]
        if self._ended_by:
            return self._enter(Stage.DONE, now)
        self._go_to(self._round + 1)
        return self._enter(Stage.TRAINING if self._models.based else Stage.LISTENING, now)

    # -- the network's events -------------------------------------------------

    def fragment(self, fragment: Fragment, now: float) -> list[Action]:
        """A stranger's fragment: averaged in, or dropped for a reason."""
        if self._ended == "stopped" and fragment.run == self._spec.wire_id:
            return [Dropped(DropReason.ROUND_PAST)]
        added = self._collected.add(fragment)
        if isinstance(added, DropReason):
            return [Dropped(added)]
        number = max(fragment.round, self._round)
        enough = self._collected.received(number) >= self._collected.expected(number)
        self._waiting.came(number, now, self._collected.rounds, enough=enough)
        return [*_dropped(DropReason.ROUND_AHEAD, added), *self.tick(now)]

    def set_cohort(self, others: Iterable[int], now: float, members: int = 0) -> list[Action]:
        """The other peers that take part now: for each the first round with its fragments, 0 while it only
        listens. What is expected follows at once, so that nobody is waited for who is not there any more.
        `members`: all others of the network; no index takes more fragments than that."""
        self._collected.set_others(Others(others), members)
        return self.tick(now)

    def gave_up(self, round_number: int) -> None:
        """A fragment of that round did not reach somebody. Only counted: closing never waits for it."""
        if round_number == self._round and not self._closed:
            self._own.gave_up += 1
        else:
            self._results.gave_up(round_number)

    def tick(self, now: float) -> list[Action]:
        """Close the round if it is over, or go where the others are."""
        if not self._waits():
            return []
        if self._stage is Stage.LISTENING and not self._collected.others.heard_from(self._round):
            return self._go_on_alone(now)
        standing = self._standing()
        by = self._waiting.verdict(standing, now)
        if by == "complete":
            return self._close(by, now)
        there = self._left_behind_by(standing)
        if there is not None:
            return self._jump(there, now)
        if by == "timeout" and self._lacking and not standing.quorum:
            return self._wait(now)
        if by == "timeout" and standing.lost:
            return self._fail(now)
        return self._close(by, now) if by else []

    def _go_on_alone(self, now: float) -> list[Action]:
        """Nobody gives fragments of this round, or will. Those who have ended early may have the model."""
        if self._lacking:
            return []
        if not self._models.based:
            given = self._collected.base
            if given is not None and self._models.based_with(given):
                self._models.adopt(given)
            elif self._collected.others.ended(self._round) and now < self._waiting.timeout_at:
                return []
        self._models.be_base()
        return self._enter(Stage.TRAINING, now)

    def _standing(self) -> Standing:
        received, expected = self._collected.received(self._round), self._collected.expected(self._round)
        whole = self._stage is not Stage.LISTENING or (expected > 0 and self._will_know())
        enough = received >= expected and whole
        return Standing(
            self._round,
            received,
            quorum=expected > 0 and received >= self._spec.quorum * expected,
            enough=enough,
            none_missing=enough and self._collected.none_missing(self._round),
            lost=not whole and self._round == self._spec.rounds,  # no further round would bring it
        )

    def _left_behind_by(self, standing: Standing) -> int | None:
        """The round of others who have more than this one has."""
        if self._stage is not Stage.LISTENING and standing.quorum:
            return None
        there = self._collected.cohort_round()
        if there is None or (standing.quorum and self._collected.received(there) <= standing.received):
            return None
        return there

    def _will_know(self) -> bool:
        """Whether the model will be what the others have, once the round that is listened to is closed."""
        return self._models.based_with(self._collected.base) or self._knows_last

    # -- stages ---------------------------------------------------------------

    def _enter(self, stage: Stage, now: float) -> list[Action]:
        if self._pausing and stage is not Stage.DONE:
            self._stage, self._held = Stage.PAUSED, stage
            return []
        self._stage = stage
        match stage:
            case Stage.TRAINING:
                return self._train(now)
            case Stage.EXCHANGING:
                return self._exchange(now)
            case Stage.LISTENING:
                self._results.begin(now)
                return self._wait(now)
            case Stage.EVALUATING:
                return [Evaluate(self._round, self.model)]
            case _:
                self._results.begin(now)
                told = self._contribution.end(self._round, trained=self._own.is_trained)
                return [*told, *self._sharing.end(self._round), Finished()]

    def _train(self, now: float) -> list[Action]:
        """An update that would be thrown away is not worth training for."""
        self._results.begin(now)
        there = self._collected.cohort_round()
        if there is not None and not stale_rounds(self._spec):
            return self._jump(there, now)
        train = StartTraining(self._round, self._models.start)
        return [*self._contribution.begin(self._round), *self._sharing.base(self._round), train]

    def _exchange(self, now: float) -> list[Action]:
        there = self._collected.cohort_round()
        sent = self._own.send_all() if self._is_useful() else []
        return [*sent, *(self._wait(now) if there is None else self._jump(there, now))]

    def _is_useful(self) -> bool:
        """Whether an update for this round would count with the others."""
        there = self._collected.cohort_round()
        return there is None or there - self._round <= stale_rounds(self._spec)

    def _wait(self, now: float) -> list[Action]:
        """For the others' fragments."""
        self._waiting.begin(now)
        return self.tick(now)

    def _jump(self, there: int, now: float) -> list[Action]:
        """Give up this round, and those between, and listen where the others are, who are told not to
        wait for this peer's fragments of that round."""
        skipped = Skipped(self._round, there)
        self._skipped += there - self._round
        self._models.lose_base()
        lost = self._collected.skip_to(there)
        self._go_to(there)
        return [
            skipped,
            *_dropped(DropReason.ROUND_PAST, lost),
            *(self._contribute_after() if self._contribution.from_round else []),
            *self._enter(Stage.LISTENING, now),
        ]

    def _close(self, by: str, now: float) -> list[Action]:
        before = self.status
        received, listened = self._collected.base, not self._own.is_trained
        updates = self._collected.take()
        stale = int(updates.stale.sum())
        if listened and self._knows_last:
            self._models.adopt(self._collected.last)
        else:
            self._models.close(updates, received, self._own.counted)
        self._closed = True
        self._lacking = False
        result = self._own.result(by, before, now - self._waiting.since, stale)
        self._results.add(result)
        return [
            RoundClosed(result, self.model),
            *(self._contribute_after() if listened else []),
            *self._enter(Stage.EVALUATING, now),
        ]

    def _fail(self, now: float) -> list[Action]:
        self._results.begin(now)
        self._stage, self._ended = Stage.DONE, "failed"
        return [Failed("the run is over, and too little has come of its model; is anybody there who has it?")]

    # -- helpers --------------------------------------------------------------

    @property
    def _knows_last(self) -> bool:
        """Whether all of the model has come that the last round led to, and that round is what is closed."""
        return self._round == self._spec.rounds and self._collected.last.whole

    def _go_to(self, round_number: int) -> None:
        self._round = round_number
        self._closed = False
        self._own = Own(round_number, self._layout, self._models, self._rng)

    def _contribute_after(self) -> list[Action]:
        return self._contribution.resume_after(self._round, based=self._models.based)

    def _waits(self) -> bool:
        return self._stage in (Stage.EXCHANGING, Stage.LISTENING)


def _dropped(reason: DropReason, count: int) -> list[Action]:
    return [Dropped(reason, count)] if count else []
