"""A run under arbitrary events: it is never stuck, never averages what it should not, only goes forward, and
its counts add up. The model is the list of fragments that were accepted, by the round that they count for."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.actions import (
    Action,
    Contribute,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    Skipped,
    Stage,
    StartTraining,
)
from peerd.learning.collect import AHEAD, stale_rounds
from peerd.types import DropReason, RunSpec

LAYOUT = Layout(5, 2)
ROUNDS = 7
INITIAL = np.full(LAYOUT.parameters, 3.0, np.float32)

cohorts = st.lists(st.integers(0, ROUNDS), max_size=5)


class RunOfOnePeer(RuleBasedStateMachine):
    @initialize(
        others=cohorts,
        start=st.integers(1, ROUNDS),
        listening=st.booleans(),
        stale=st.sampled_from(["drop", "use"]),
        quorum=st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    )
    def begin(self, others: list[int], start: int, listening: bool, stale: str, quorum: float) -> None:
        self.spec = RunSpec(
            run_id="0" * 15 + "7" + "0" * 16,
            task="digits-cnn",
            rounds=ROUNDS,
            quorum=quorum,
            grace_seconds=5.0,
            round_timeout_seconds=50.0,
            stale=stale,  # type: ignore[arg-type]
            stale_rounds=2,
        )
        self.now = 0.0
        self.others = others
        self.most = len(others)
        self.asked: StartTraining | Evaluate | None = None
        self.round = start
        self.collected = start
        self.begun = 0
        self.own: np.ndarray | None = None
        self.sent: dict[int, np.ndarray] = {}
        """Of the present update, by index."""
        self.contributes_from = 0
        self.accepted: dict[int, list[tuple[int, float, int]]] = defaultdict(list)
        self.closed: list[int] = []
        self.skipped = 0
        self.current = INITIAL
        self.over = False
        self.rounds = Rounds(
            self.spec,
            LAYOUT,
            INITIAL,
            others,
            self.now,
            random.Random(1),
            start_round=start,
            listening=listening,
        )
        self.do(self.rounds.start(self.now))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Contribute(from_round=number):
                    assert number != self.contributes_from
                    assert number == 0 or number in (self.round, self.round + 1)
                    self.contributes_from = number
                case StartTraining(round=number, vector=vector):
                    assert self.asked is None and self.round <= number <= ROUNDS
                    assert number > self.begun and 0 < self.contributes_from <= number
                    np.testing.assert_array_equal(vector, self.current)
                    self.asked, self.round, self.begun = action, number, number
                    self.sent = {}
                case SendFragments(round=number):
                    assert number == self.round and 0 < self.contributes_from <= number
                    for index, values in action.fragments:
                        assert index not in self.sent
                        np.testing.assert_array_equal(values, self.update[LAYOUT.slice(index)])
                        self.sent[index] = np.array(values)
                    if len(self.sent) == LAYOUT.fragments:  # from now on it stands in for what is missing
                        self.current = np.concatenate([self.sent[i] for i in range(LAYOUT.fragments)])
                case Skipped(round=number, to=there):
                    assert number in (self.round, self.round + 1) and number < there <= ROUNDS
                    self.skipped += there - number
                    self.round = self.collected = there
                    self.own = None
                    self.lost = sum(len(self.accepted.pop(n)) for n in list(self.accepted) if n < there)
                case Dropped(reason=reason, count=count):
                    assert (reason, count) == (DropReason.ROUND_PAST, self.lost)
                case RoundClosed(result=result, vector=vector):
                    assert result.round == self.round and (not self.closed or self.round > self.closed[-1])
                    self.closed.append(self.round)
                    self.collected = self.round + 1
                    self.check_mean(result.listened, vector)
                    assert result.stale_fragments == sum(
                        late > 0 for _, _, late in self.accepted.pop(self.round, [])
                    )
                    self.current, self.own = vector, None
                case Evaluate(round=number):
                    assert self.asked is None and number == self.round == self.closed[-1]
                    self.asked = action
                case Finished():
                    assert self.closed[-1] == ROUNDS and self.contributes_from in (0, ROUNDS)
                    self.over = True

    def check_mean(self, listened: bool, vector: np.ndarray) -> None:
        assert listened is (self.own is None)
        assert np.isfinite(vector).all()
        for index in range(LAYOUT.fragments):
            span = LAYOUT.slice(index)
            terms = [(value, 0.5**late) for i, value, late in self.accepted[self.round] if i == index]
            total = sum(value * weight for value, weight in terms)
            weights = sum(weight for _, weight in terms)
            if self.own is not None:
                expected = (self.own[span] + total) / (1 + weights)
            else:
                expected = total / weights if weights else self.current[span]
            np.testing.assert_allclose(vector[span], expected, rtol=1e-6, atol=1e-5)

    @rule(
        number=st.integers(0, ROUNDS + 2),
        index=st.integers(0, LAYOUT.fragments),
        value=st.one_of(st.integers(-100, 100).map(float), st.just(math.nan)),
        run=st.sampled_from([7, 7, 7, 7, 8]),
        near=st.booleans(),
    )
    def fragment(self, number: int, index: int, value: float, run: int, near: bool) -> None:
        number = self.round + number % 4 - 1 if near else number
        self.hear(number, index, value, run)

    @rule(ahead=st.integers(0, 5), value=st.integers(-100, 100), times=st.integers(1, 3))
    def all_of_a_model(self, ahead: int, value: int, times: int) -> None:
        for _ in range(times):
            for index in range(LAYOUT.fragments):
                self.hear(self.round + ahead, index, float(value), 7)

    def hear(self, number: int, index: int, value: float, run: int) -> None:
        length = 1 if index == LAYOUT.fragments - 1 else 2
        late = max(self.collected - number, 0)
        entry = (index, value, late)
        self.accepted[number + late].append(entry)
        values = np.full(length, value, np.float32)
        first, *rest = self.rounds.fragment(Fragment(run, number, index, values.tobytes()), self.now) or [
            None
        ]
        if isinstance(first, Dropped) and first.reason is not DropReason.ROUND_AHEAD:
            self.accepted[number + late].remove(entry)
            assert first.count == 1 and not rest
            self.check_drop(first.reason, number, index, value, run)
            return
        if isinstance(first, Dropped) and (number > ROUNDS or number + late > ROUNDS):
            self.accepted.pop(number + late)
            return
        assert run == 7 and not math.isnan(value) and index < LAYOUT.fragments
        assert number >= 1 and number + late <= ROUNDS and late <= stale_rounds(self.spec)
        if isinstance(first, Dropped):  # another round gave way to this one
            gone = [n for n in self.accepted if n not in self.kept() and self.accepted[n]]
            assert len(gone) == 1 and gone[0] > self.collected
            assert len(self.accepted.pop(gone[0])) == first.count
            first = None
        self.do([*([] if first is None else [first]), *rest])

    def kept(self) -> list[int]:
        return self.rounds._collected.rounds

    def check_drop(self, reason: DropReason, number: int, index: int, value: float, run: int) -> None:
        match reason:
            case DropReason.WRONG_RUN:
                assert run != 7
            case DropReason.ROUND_PAST:
                late = self.collected - number
                ahead = (late < 0 and self.rounds._collected.cohort_round()) or 0  # the others have left it
                assert number < max(1, ahead) or late > stale_rounds(self.spec) or self.collected > ROUNDS
            case DropReason.BAD_FRAGMENT:
                assert index == LAYOUT.fragments
            case DropReason.NOT_FINITE:
                assert math.isnan(value)
            case DropReason.OVER_COUNT:
                late = max(self.collected - number, 0)
                same = [
                    i
                    for i, _, other in self.accepted[number + late]
                    if i == index and (other > 0) == (late > 0)
                ]
                assert len(same) >= self.most
            case _:
                raise AssertionError(f"unexpected reason {reason}")

    @precondition(lambda self: self.asked is not None)
    @rule(value=st.integers(-100, 100))
    def the_trainer_answers(self, value: int) -> None:
        asked, self.asked = self.asked, None
        if isinstance(asked, StartTraining):
            self.update = np.full(LAYOUT.parameters, value, np.float32)
            self.own = self.update.copy()
            for index, values in self.sent.items():  # that stays, even if training was done once more
                self.own[LAYOUT.slice(index)] = values
            self.do(self.rounds.trained(self.update, 1.0, 0.5, 10, self.now))
        else:
            if self.round < ROUNDS:
                self.round += 1
            self.do(self.rounds.evaluated(0.5, 10, self.now))

    @precondition(lambda self: isinstance(self.asked, StartTraining))
    @rule(indices=st.lists(st.integers(0, LAYOUT.fragments - 1)), value=st.integers(-100, 100))
    def training_is_done_with_some(self, indices: list[int], value: int) -> None:
        self.update = np.full(LAYOUT.parameters, value, np.float32)
        before = set(self.sent)
        self.do(self.rounds.final(indices, self.update, self.now))
        assert set(self.sent) in (before, before | set(indices))

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.rounds.tick(self.now))

    @rule(others=cohorts)
    def peers_come_and_go(self, others: list[int]) -> None:
        self.others = others
        self.most = max(self.most, len(others))
        self.do(self.rounds.set_cohort(others, self.now))

    @rule()
    def pause(self) -> None:
        self.do(self.rounds.pause(self.now))

    @rule()
    def resume(self) -> None:
        self.do(self.rounds.resume(self.now))

    @rule(number=st.integers(0, ROUNDS + 1))
    def gave_up(self, number: int) -> None:
        self.rounds.gave_up(number)

    @rule()
    def somebody_appears(self) -> None:
        own = self.rounds.own_fragments()
        if own is not None:
            assert own.round == self.round
            assert {index: values.tobytes() for index, values in own.fragments} == {
                index: values.tobytes() for index, values in self.sent.items()
            }

    @invariant()
    def something_always_leads_on(self) -> None:
        """The trainer works, or a deadline is set, or the operator paused, or it is over."""
        status = self.rounds.status
        deadline = self.rounds.next_deadline()
        match status.stage:
            case Stage.TRAINING | Stage.EVALUATING:
                assert self.asked is not None and deadline is None
            case Stage.EXCHANGING | Stage.LISTENING:
                assert self.asked is None and deadline is not None
                assert deadline <= self.now + self.spec.round_timeout_seconds
            case Stage.PAUSED:
                assert status.state == "paused" and self.asked is None
            case _:
                assert status.stage is Stage.DONE and self.over

    @invariant()
    def counts_add_up(self) -> None:
        status = self.rounds.status
        assert status.round == self.round
        contributing = sum(0 < number <= self.round for number in self.others)
        own = 0 < self.contributes_from <= self.round
        assert (status.cohort, status.listeners) == (contributing + own, len(self.others) - contributing)
        assert status.contributes_from == self.contributes_from
        assert status.rounds_skipped == self.skipped
        assert [result.round for result in status.results] == self.closed == sorted(set(self.closed))
        assert status.fragments_received >= 0
        if status.stage is Stage.EXCHANGING or (status.stage is Stage.LISTENING and contributing):
            assert status.fragments_received < status.fragments_expected

    @invariant()
    def memory_is_bounded_and_no_index_takes_too_many(self) -> None:
        kept = self.kept()
        assert len(kept) <= 1 + AHEAD
        assert {number for number, fragments in self.accepted.items() if fragments} == set(kept)
        for fragments in self.accepted.values():
            for late in (False, True):
                counts = Counter(index for index, _, age in fragments if (age > 0) is late)
                assert max(counts.values(), default=0) <= self.most

    @invariant()
    def the_model_is_finite(self) -> None:
        assert np.isfinite(self.rounds.model).all()
        np.testing.assert_array_equal(self.rounds.model, self.current)

    def teardown(self) -> None:
        """From wherever it is, time and answers alone bring it to its end."""
        if not hasattr(self, "rounds"):
            return
        self.do(self.rounds.resume(self.now))
        for _ in range(4 * ROUNDS):
            if self.asked is not None:
                self.the_trainer_answers(1)
            if (deadline := self.rounds.next_deadline()) is not None:
                self.now = max(self.now, deadline)
                self.do(self.rounds.tick(self.now))
        assert self.over and self.rounds.status.state == "finished"


TestRunOfOnePeer = RunOfOnePeer.TestCase
TestRunOfOnePeer.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
