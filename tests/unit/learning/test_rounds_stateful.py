"""A run under arbitrary events: it is never stuck, never averages what it should not, and its counts add
up. The model is the list of fragments that were accepted."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.rounds import (
    Action,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    Stage,
    StartTraining,
)
from peerd.types import DropReason, RunSpec

LAYOUT = Layout(5, 2)
ROUNDS = 3
SPEC = RunSpec(
    run_id="0" * 15 + "7" + "0" * 16,
    task="digits-cnn",
    rounds=ROUNDS,
    quorum=0.6,
    grace_seconds=5.0,
    round_timeout_seconds=50.0,
)


class RunOfOnePeer(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cohort = 3
        self.asked: StartTraining | Evaluate | None = None
        self.sent: dict[int, np.ndarray] = {}
        self.accepted: dict[int, list[tuple[int, float]]] = {number: [] for number in range(1, 5)}
        self.closed: list[int] = []
        self.over = False
        initial = np.zeros(LAYOUT.parameters, np.float32)
        self.rounds = Rounds(SPEC, LAYOUT, initial, self.cohort, self.now, random.Random(1))
        self.do(self.rounds.start(self.now))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case StartTraining(round=number):
                    assert self.asked is None and number == len(self.closed) + 1 <= ROUNDS
                    self.asked = action
                case SendFragments(round=number, fragments=fragments):
                    assert number == len(self.closed) + 1 and number not in self.sent
                    own = np.zeros(LAYOUT.parameters, np.float32)
                    for index, values in fragments:
                        own[LAYOUT.slice(index)] = values
                    self.sent[number] = own
                case RoundClosed(result=result, vector=vector):
                    assert result.round == len(self.closed) + 1
                    self.closed.append(result.round)
                    self.check_mean(result.round, vector)
                case Evaluate(round=number):
                    assert self.asked is None and number == len(self.closed)
                    self.asked = action
                case Finished():
                    assert self.closed == [1, 2, 3]
                    self.over = True
                case Dropped():
                    raise AssertionError("only a fragment can be dropped")

    def check_mean(self, number: int, vector: np.ndarray) -> None:
        for index in range(LAYOUT.fragments):
            span = LAYOUT.slice(index)
            values = [value for where, value in self.accepted[number] if where == index]
            expected = (self.sent[number][span] + sum(values)) / (1 + len(values))
            np.testing.assert_allclose(vector[span], expected, rtol=1e-6)

    @rule(
        number=st.integers(0, ROUNDS + 1),
        index=st.integers(0, LAYOUT.fragments),
        value=st.one_of(st.integers(-100, 100).map(float), st.just(math.nan)),
        run=st.sampled_from([7, 7, 7, 7, 8]),
    )
    def fragment(self, number: int, index: int, value: float, run: int) -> None:
        length = 1 if index == LAYOUT.fragments - 1 else 2
        values = np.full(length, value, np.float32)
        if number >= 1:
            self.accepted[number].append((index, value))
        actions = self.rounds.fragment(Fragment(run, number, index, values), self.now)
        if actions and isinstance(actions[0], Dropped):
            if number >= 1:
                self.accepted[number].pop()
            assert len(actions) == 1
            self.check_drop(actions[0].reason, number, index, value, run)
            return
        open_round = len(self.closed) + (1 if self.closed == self.evaluated_rounds() else 0)
        assert run == 7 and not math.isnan(value) and index < LAYOUT.fragments
        assert number >= open_round
        self.do(actions)

    def evaluated_rounds(self) -> list[int]:
        return [result.round for result in self.rounds.status.results if result.test_samples]

    def check_drop(self, reason: DropReason, number: int, index: int, value: float, run: int) -> None:
        match reason:
            case DropReason.WRONG_RUN:
                assert run != 7
            case DropReason.ROUND_PAST:
                assert self.rounds.status.stage is Stage.DONE or number <= len(self.closed)
            case DropReason.ROUND_AHEAD:
                assert number > self.rounds.status.round + 1 or number > ROUNDS
            case DropReason.BAD_FRAGMENT:
                assert index == LAYOUT.fragments
            case DropReason.NOT_FINITE:
                assert math.isnan(value)
            case DropReason.OVER_COUNT:
                already = [where for where, _ in self.accepted[number] if where == index]
                assert len(already) >= self.cohort - 1
            case _:
                raise AssertionError(f"unexpected reason {reason}")

    @precondition(lambda self: self.asked is not None)
    @rule(value=st.integers(-100, 100))
    def the_trainer_answers(self, value: int) -> None:
        asked, self.asked = self.asked, None
        if isinstance(asked, StartTraining):
            update = np.full(LAYOUT.parameters, value, np.float32)
            self.do(self.rounds.trained(update, 1.0, 0.5, 10, self.now))
        else:
            self.do(self.rounds.evaluated(0.5, 10, self.now))

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.rounds.tick(self.now))

    @rule(cohort=st.integers(1, 5))
    def peers_come_and_go(self, cohort: int) -> None:
        self.cohort = cohort
        self.do(self.rounds.set_cohort(cohort, self.now))

    @rule()
    def pause(self) -> None:
        self.do(self.rounds.pause(self.now))

    @rule()
    def resume(self) -> None:
        self.do(self.rounds.resume(self.now))

    @rule(number=st.integers(0, 5))
    def gave_up(self, number: int) -> None:
        self.rounds.gave_up(number)

    @invariant()
    def something_always_leads_on(self) -> None:
        """The trainer works, or a deadline is set, or the operator paused, or it is over."""
        status = self.rounds.status
        deadline = self.rounds.next_deadline()
        match status.stage:
            case Stage.TRAINING | Stage.EVALUATING:
                assert self.asked is not None and deadline is None
            case Stage.EXCHANGING:
                assert self.asked is None and deadline is not None
                assert deadline <= self.now + SPEC.round_timeout_seconds
            case Stage.PAUSED:
                assert status.state == "paused" and self.asked is None
            case _:
                assert status.stage is Stage.DONE and self.over

    @invariant()
    def counts_add_up(self) -> None:
        status = self.rounds.status
        assert status.cohort == self.cohort
        assert 0 <= status.fragments_received <= status.fragments_expected
        assert [result.round for result in status.results] == self.closed
        if status.stage is Stage.EXCHANGING:
            assert status.fragments_received < status.fragments_expected

    def teardown(self) -> None:
        """From wherever it is, time and answers alone bring it to its end."""
        self.do(self.rounds.resume(self.now))
        for _ in range(4 * ROUNDS):
            if self.asked is not None:
                self.the_trainer_answers(1)
            if (deadline := self.rounds.next_deadline()) is not None:
                self.now = max(self.now, deadline)
                self.do(self.rounds.tick(self.now))
        assert self.over and self.rounds.status.state == "finished"


TestRunOfOnePeer = RunOfOnePeer.TestCase
TestRunOfOnePeer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
