"""Events in, actions out: each test is a playbook of one peer's run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.actions import (
    Action,
    Contribute,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    StartTraining,
)
from peerd.learning.results import KEPT_RESULTS
from peerd.types import DropReason, RunSpec

MakeFragment = Callable[..., Fragment]
MakeRounds = Callable[..., Rounds]
INITIAL = np.zeros(10, np.float32)
OWN = np.full(10, 4.0, np.float32)


@pytest.fixture
def make_rounds(layout: Layout, make_spec: Callable[..., RunSpec]) -> MakeRounds:
    """Started at time 0. The others contribute from the first round."""

    def make(cohort: int = 3, **spec: Any) -> Rounds:
        rounds = Rounds(make_spec(**spec), layout, INITIAL, others(cohort), 0.0, random.Random(1))
        contribute, train = rounds.start(0.0)
        assert contribute == Contribute(1) and isinstance(train, StartTraining)
        return rounds

    return make


def others(cohort: int) -> list[int]:
    """The rest of a cohort that began together."""
    return [1] * (cohort - 1)


def kinds(actions: list[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


def train(rounds: Rounds, now: float, update: np.ndarray = OWN) -> list[Action]:
    return rounds.trained(update, 0.5, 0.9, 100, now)


def feed_all(rounds: Rounds, make: MakeFragment, peers: int, now: float, round: int = 1) -> list[Action]:
    """All that so many other peers send in a round."""
    actions: list[Action] = []
    for value in range(1, peers + 1):
        for index in range(3):
            actions += rounds.fragment(make(index, float(value), round=round), now)
    return actions


def test_a_round_from_start_to_start(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    assert rounds.status.stage == "training"

    (send,) = train(rounds, now=5.0)
    assert isinstance(send, SendFragments) and send.round == 1
    assert sorted(index for index, _ in send.fragments) == [0, 1, 2]
    assert rounds.status.stage == "exchanging"
    assert rounds.status.fragments_expected == 6

    closed, evaluate = feed_all(rounds, make_fragment, 2, now=6.5)
    assert isinstance(closed, RoundClosed) and isinstance(evaluate, Evaluate)
    expected = np.full(10, (4 + 1 + 2) / 3, np.float32)
    np.testing.assert_array_equal(closed.vector, expected)
    np.testing.assert_array_equal(evaluate.vector, expected)
    np.testing.assert_array_equal(rounds.model, expected)
    assert rounds.status.stage == "evaluating"

    (again,) = rounds.evaluated(0.95, 360, now=8.0)
    assert isinstance(again, StartTraining) and again.round == 2
    np.testing.assert_array_equal(again.vector, expected)
    (result,) = rounds.status.results
    assert result.round == 1
    assert result.train_seconds == 5.0
    assert result.exchange_seconds == 1.5
    assert result.round_seconds == 8.0
    assert result.closed_by == "complete"
    assert (result.cohort, result.fragments_received, result.fragments_expected) == (3, 6, 6)
    assert (result.train_loss, result.accuracy_local, result.train_samples) == (0.5, 0.9, 100)
    assert (result.accuracy, result.test_samples) == (0.95, 360)


def test_the_run_ends_after_its_rounds(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(rounds=2)
    for number in (1, 2):
        train(rounds, now=10.0 * number)
        feed_all(rounds, make_fragment, 2, now=10.0 * number + 1, round=number)
        actions = rounds.evaluated(0.9, 10, now=10.0 * number + 2)
    assert actions == [Contribute(2), Finished()]  # who is behind need not wait for it before
    status = rounds.status
    assert (status.state, status.stage, status.round) == ("finished", "done", 2)
    assert [result.round_seconds for result in status.results] == [12.0, 10.0]
    assert rounds.next_deadline() is None
    assert rounds.fragment(make_fragment(0, round=2), 40.0) == [Dropped(DropReason.ROUND_PAST)]


def test_fragments_leave_in_random_order(make_spec: Callable[..., RunSpec]) -> None:
    layout = Layout(100, 2)
    orders = set()
    for seed in range(3):
        rounds = Rounds(make_spec(), layout, np.zeros(100, np.float32), [1, 1], 0.0, random.Random(seed))
        rounds.start(0.0)
        update = np.arange(100, dtype=np.float32)
        (send,) = rounds.trained(update, 0.0, 0.0, 1, 1.0)
        assert isinstance(send, SendFragments)
        orders.add(tuple(index for index, _ in send.fragments))
        joined = np.concatenate([values for _, values in sorted(send.fragments)])
        np.testing.assert_array_equal(joined, update)
    assert len(orders) == 3


# -- how an exchange ends -------------------------------------------------------


def test_all_was_there_before_the_own_training_ended(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = make_rounds()
    assert feed_all(rounds, make_fragment, 2, now=1.0) == []
    assert rounds.next_deadline() is None
    assert kinds(train(rounds, now=5.0)) == [SendFragments, RoundClosed, Evaluate]


def test_alone_every_round_is_complete_at_once(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(cohort=1)
    _, closed, _ = train(rounds, now=5.0)
    assert isinstance(closed, RoundClosed)
    np.testing.assert_array_equal(closed.vector, OWN)
    assert closed.result.closed_by == "complete"
    assert closed.result.fragments_expected == 0


def test_quorum_then_grace(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(quorum=0.8, grace_seconds=10.0, round_timeout_seconds=300.0)
    train(rounds, now=5.0)
    feed_all(rounds, make_fragment, 1, now=6.0)
    assert rounds.next_deadline() == 305.0
    rounds.fragment(make_fragment(0), 7.0)
    assert rounds.next_deadline() == 305.0
    rounds.fragment(make_fragment(1), 8.0)  # 5 of 6 are more than 0.8
    assert rounds.next_deadline() == 18.0
    assert rounds.tick(17.9) == []
    closed, evaluate = rounds.tick(18.0)
    assert isinstance(closed, RoundClosed) and isinstance(evaluate, Evaluate)
    assert closed.result.closed_by == "grace"
    assert (closed.result.fragments_received, closed.result.fragments_expected) == (5, 6)
    np.testing.assert_array_equal(closed.vector, [2] * 8 + [2.5] * 2)


def test_quorum_before_the_own_training_ended_gives_grace_from_there(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = make_rounds(quorum=0.5, grace_seconds=10.0)
    feed_all(rounds, make_fragment, 1, now=1.0)
    train(rounds, now=50.0)
    assert rounds.next_deadline() == 60.0


def test_timeout_counts_from_the_end_of_the_own_training(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(round_timeout_seconds=300.0)
    assert rounds.tick(10_000.0) == []
    train(rounds, now=10_000.0)
    assert rounds.next_deadline() == 10_300.0
    closed, _ = rounds.tick(10_300.0)
    assert isinstance(closed, RoundClosed)
    assert closed.result.closed_by == "timeout"
    np.testing.assert_array_equal(closed.vector, OWN)


# -- the cohort changes -----------------------------------------------------------


def test_a_death_completes_the_round(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    train(rounds, now=5.0)
    assert feed_all(rounds, make_fragment, 1, now=6.0) == []
    closed, _ = rounds.set_cohort(others(2), now=7.0)
    assert isinstance(closed, RoundClosed)
    assert (closed.result.closed_by, closed.result.cohort) == ("complete", 2)
    assert (closed.result.fragments_received, closed.result.fragments_expected) == (3, 3)


def test_a_dead_peers_fragments_do_not_displace_a_live_ones(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    """The dead one had sent index 0; then both live ones send theirs."""
    rounds = make_rounds(cohort=4)
    train(rounds, now=1.0)
    rounds.fragment(make_fragment(0, 100.0), 2.0)
    rounds.set_cohort(others(3), now=3.0)
    assert rounds.status.fragments_expected == 6
    actions = [rounds.fragment(make_fragment(0), 4.0), rounds.fragment(make_fragment(0), 4.0)]
    assert actions == [[], []]
    assert rounds.status.fragments_received == 2  # of the two expected for index 0
    assert rounds.fragment(make_fragment(0), 5.0) == [Dropped(DropReason.OVER_COUNT)]


def test_a_newcomer_is_waited_for_and_accepted(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(cohort=2, quorum=1.0)
    train(rounds, now=1.0)
    rounds.set_cohort(others(3), now=2.0)
    assert feed_all(rounds, make_fragment, 1, now=3.0) == []
    assert RoundClosed in kinds(feed_all(rounds, make_fragment, 1, now=4.0))


def test_a_newcomer_can_undo_the_quorum(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(cohort=3, quorum=0.5, grace_seconds=10.0, round_timeout_seconds=100.0)
    train(rounds, now=0.0)
    feed_all(rounds, make_fragment, 1, now=1.0)
    assert rounds.next_deadline() == 11.0
    rounds.set_cohort(others(6), now=2.0)
    assert rounds.next_deadline() == 100.0


def test_when_everybody_else_is_gone_it_goes_on_alone(make_rounds: MakeRounds) -> None:
    rounds = make_rounds()
    rounds.set_cohort([], now=1.0)
    assert rounds.status.cohort == 1
    assert RoundClosed in kinds(train(rounds, now=2.0))


def test_only_those_who_contribute_are_waited_for(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = make_rounds(quorum=1.0)
    rounds.set_cohort([1, 2, 0], now=0.5)
    status = rounds.status
    assert (status.cohort, status.listeners, status.fragments_expected) == (2, 2, 3)
    train(rounds, now=1.0)
    assert RoundClosed in kinds(feed_all(rounds, make_fragment, 1, now=2.0))
    rounds.evaluated(0.9, 10, now=3.0)
    status = rounds.status
    assert (status.round, status.cohort, status.listeners) == (2, 3, 1)
    assert status.fragments_expected == 6


def test_one_that_contributes_earlier_than_known_displaces_nobody(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    """Its fragments were faster than what it said about them."""
    rounds = make_rounds()
    rounds.set_cohort([1, 0], now=0.5)
    assert [rounds.fragment(make_fragment(0), 0.6) for _ in range(2)] == [[], []]
    assert rounds.status.fragments_received == 1


# -- fragments that do not belong ---------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": 8}, DropReason.WRONG_RUN),
        ({"round": 0}, DropReason.ROUND_PAST),
        ({"round": 4}, DropReason.ROUND_AHEAD),
        ({"round": 2**32 - 1}, DropReason.ROUND_AHEAD),
        ({"value": float("nan")}, DropReason.NOT_FINITE),
    ],
)
def test_dropped_with_a_reason(
    make_rounds: MakeRounds, make_fragment: MakeFragment, changes: dict[str, Any], reason: DropReason
) -> None:
    rounds = make_rounds()
    assert rounds.fragment(make_fragment(0, **changes), 1.0) == [Dropped(reason)]
    assert rounds.status.fragments_received == 0


def test_bad_index_and_length(make_rounds: MakeRounds) -> None:
    rounds = make_rounds()
    for index, length in ((3, 4), (0, 3), (2, 4)):
        fragment = Fragment(7, 1, index, np.ones(length, np.float32).tobytes())
        assert rounds.fragment(fragment, 1.0) == [Dropped(DropReason.BAD_FRAGMENT)]


def test_duplicates_beyond_the_cohort(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(cohort=3)
    replies = [rounds.fragment(make_fragment(1), 1.0) for _ in range(4)]
    over = [Dropped(DropReason.OVER_COUNT)]
    assert replies == [[], [], over, over]


def test_late_fragments_are_past_once_the_round_is_closed(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = make_rounds(round_timeout_seconds=10.0)
    train(rounds, now=0.0)
    rounds.tick(10.0)
    assert rounds.status.stage == "evaluating"
    assert rounds.fragment(make_fragment(0, round=1), 11.0) == [Dropped(DropReason.ROUND_PAST)]
    rounds.evaluated(0.9, 10, now=12.0)
    assert rounds.fragment(make_fragment(0, round=1), 13.0) == [Dropped(DropReason.ROUND_PAST)]


@pytest.mark.parametrize("stage", ["training", "exchanging", "evaluating"])
@pytest.mark.parametrize("ahead", [2, 3, 4])
def test_what_the_faster_ones_send_early_is_kept(
    make_rounds: MakeRounds, make_fragment: MakeFragment, stage: str, ahead: int
) -> None:
    """Whatever this peer does in round 1. They are a minority: two of five others."""
    rounds = make_rounds(cohort=6, rounds=5, round_timeout_seconds=10.0)
    if stage != "training":
        train(rounds, now=0.0)
    if stage == "evaluating":
        rounds.tick(10.0)
    assert rounds.status.stage == stage
    before = rounds.status.fragments_received
    assert feed_all(rounds, make_fragment, 2, now=9.0, round=ahead) == []
    assert rounds.status.fragments_received == before

    for number in range(1, ahead):
        if (stage, number) != ("exchanging", 1) and (stage, number) != ("evaluating", 1):
            train(rounds, now=100.0 * number)
        if (stage, number) != ("evaluating", 1):
            assert kinds(rounds.tick(100.0 * number + 50)) == [RoundClosed, Evaluate]
        rounds.evaluated(0.9, 10, now=100.0 * number + 60)
    assert rounds.status.round == ahead
    assert rounds.status.fragments_received == 6
    rounds.set_cohort(others(3), now=900.0)
    assert kinds(train(rounds, now=901.0, update=OWN)) == [SendFragments, RoundClosed, Evaluate]
    np.testing.assert_allclose(rounds.model, np.full(10, 7 / 3), rtol=1e-6)


def test_no_look_ahead_beyond_the_last_round(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(rounds=1)
    ahead = rounds.fragment(make_fragment(0, round=2), 1.0)
    assert ahead == [Dropped(DropReason.ROUND_AHEAD)]


# -- the operator and the trainer -----------------------------------------------------


def test_pause_waits_for_the_end_of_the_stage(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    assert rounds.pause(1.0) == []
    assert (rounds.status.state, rounds.status.stage) == ("paused", "training")
    assert train(rounds, now=2.0) == []
    assert (rounds.status.state, rounds.status.stage) == ("paused", "paused")
    assert rounds.next_deadline() is None
    assert feed_all(rounds, make_fragment, 1, now=3.0) == []
    assert kinds(rounds.resume(100.0)) == [SendFragments]
    assert rounds.next_deadline() == 110.0  # a quorum was there already
    assert rounds.status.fragments_received == 3


def test_pause_while_exchanging_still_closes_the_round(
    make_rounds: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = make_rounds()
    train(rounds, now=1.0)
    rounds.pause(2.0)
    assert kinds(feed_all(rounds, make_fragment, 2, now=3.0)) == [RoundClosed]
    assert rounds.status.stage == "paused"
    assert rounds.fragment(make_fragment(0), 4.0) == [Dropped(DropReason.ROUND_PAST)]
    assert kinds(rounds.resume(5.0)) == [Evaluate]


def test_pause_between_rounds(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    train(rounds, now=1.0)
    feed_all(rounds, make_fragment, 2, now=2.0)
    rounds.pause(3.0)
    assert rounds.evaluated(0.9, 10, now=4.0) == []
    assert (rounds.status.round, rounds.own_fragments()) == (2, None)
    assert feed_all(rounds, make_fragment, 2, now=5.0, round=2) == []
    assert kinds(rounds.resume(6.0)) == [StartTraining]
    assert RoundClosed in kinds(train(rounds, now=7.0))


def test_a_pause_does_not_hold_back_the_end(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds(rounds=1)
    train(rounds, now=1.0)
    feed_all(rounds, make_fragment, 2, now=2.0)
    rounds.pause(3.0)
    assert rounds.evaluated(0.9, 10, now=4.0) == [Finished()]
    assert rounds.status.state == "finished"


def test_resume_without_pause_does_nothing(make_rounds: MakeRounds) -> None:
    rounds = make_rounds()
    assert rounds.resume(1.0) == []
    assert rounds.status.stage == "training"


def test_stop_ends_everything(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    train(rounds, now=1.0)
    assert rounds.stop(2.0) == []
    assert (rounds.status.state, rounds.status.stage) == ("stopped", "done")
    assert rounds.next_deadline() is None
    assert rounds.fragment(make_fragment(0), 3.0) == [Dropped(DropReason.ROUND_PAST)]
    assert train(rounds, now=4.0) == rounds.evaluated(0.9, 1, 5.0) == rounds.tick(1e9) == []
    assert rounds.resume(6.0) == rounds.start(7.0) == []


def test_answers_that_nobody_waits_for_change_nothing(make_rounds: MakeRounds) -> None:
    rounds = make_rounds()
    assert rounds.evaluated(0.9, 10, 1.0) == []
    train(rounds, now=2.0)
    assert train(rounds, now=3.0, update=OWN * 100) == []
    closed, _ = rounds.tick(1_000.0)
    assert isinstance(closed, RoundClosed)
    np.testing.assert_array_equal(closed.vector, OWN)


def test_give_ups_are_counted_with_their_round(make_rounds: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = make_rounds()
    train(rounds, now=1.0)
    rounds.gave_up(1)
    feed_all(rounds, make_fragment, 2, now=2.0)
    assert rounds.status.results[0].gave_up == 1
    rounds.gave_up(1)
    rounds.evaluated(0.9, 10, now=3.0)
    rounds.gave_up(1)
    rounds.gave_up(99)
    train(rounds, now=4.0)
    feed_all(rounds, make_fragment, 2, now=5.0, round=2)
    assert [result.gave_up for result in rounds.status.results] == [3, 0]


def test_nobody_can_change_the_model_through_an_action(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(cohort=1)
    _, closed, evaluate = train(rounds, now=1.0)
    assert isinstance(closed, RoundClosed) and isinstance(evaluate, Evaluate)
    for vector in (closed.vector, evaluate.vector, rounds.model):
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 1.0


def test_results_are_bounded(make_rounds: MakeRounds) -> None:
    rounds = make_rounds(cohort=1, rounds=KEPT_RESULTS + 5)
    for number in range(KEPT_RESULTS + 2):
        train(rounds, now=float(number))
        rounds.evaluated(0.9, 10, now=number + 0.5)
    results = rounds.status.results
    assert len(results) == KEPT_RESULTS
    assert results[-1].round == KEPT_RESULTS + 2


def test_who_appears_during_a_pause_gets_what_was_sent_before_it(make_rounds: MakeRounds) -> None:
    rounds = make_rounds()
    (sent,) = rounds.final([1], OWN, 1.0)
    assert isinstance(sent, SendFragments)
    rounds.pause(2.0)
    train(rounds, now=3.0)
    assert rounds.status.stage == "paused"
    given = rounds.own_fragments()
    assert given is not None and given.order == (1,)
    (rest,) = rounds.resume(4.0)
    assert isinstance(rest, SendFragments) and sorted(rest.order) == [0, 2]
