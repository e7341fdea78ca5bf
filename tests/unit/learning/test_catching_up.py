"""Peers that come late, were away or are slow: they listen, jump, and contribute again."""

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
    Skipped,
    StartTraining,
)
from peerd.types import DropReason, RunSpec

MakeFragment = Callable[..., Fragment]
MakeRounds = Callable[..., Rounds]
INITIAL = np.full(10, 7.0, np.float32)
OWN = np.full(10, 4.0, np.float32)


@pytest.fixture
def begin(layout: Layout, make_spec: Callable[..., RunSpec]) -> MakeRounds:
    """Not started yet: a run of 20 rounds with the given others."""

    def make(*others: int, start_round: int = 1, listening: bool = False, **spec: Any) -> Rounds:
        return Rounds(
            make_spec(**{"rounds": 20, "quorum": 0.5, **spec}),
            layout,
            INITIAL,
            others,
            0.0,
            random.Random(1),
            start_round=start_round,
            listening=listening,
        )

    return make


@pytest.fixture
def listen(begin: MakeRounds) -> MakeRounds:
    """Listens since time 0."""

    def make(*others: int, **changes: Any) -> Rounds:
        rounds = begin(*others, listening=True, **changes)
        assert rounds.start(0.0) == []
        return rounds

    return make


def kinds(actions: list[Action]) -> list[type[Action]]:
    return [type(action) for action in actions]


def train(rounds: Rounds, now: float, update: np.ndarray = OWN) -> list[Action]:
    return rounds.trained(update, 0.5, 0.9, 100, now)


def feed(rounds: Rounds, make: MakeFragment, peers: int, round: int, now: float = 1.0) -> list[Action]:
    """All that so many peers send in a round, the first one ones, the second twos, and so on."""
    actions: list[Action] = []
    for value in range(1, peers + 1):
        for index in range(3):
            actions += rounds.fragment(make(index, float(value), round=round), now)
    return actions


def skips(actions: list[Action]) -> list[tuple[int, int]]:
    return [(action.round, action.to) for action in actions if isinstance(action, Skipped)]


# -- beginning in the middle -------------------------------------------------------


def test_a_run_is_taken_up_where_it_was_left(begin: MakeRounds) -> None:
    rounds = begin(1, 1, start_round=8)
    contribute, start = rounds.start(0.0)
    assert contribute == Contribute(8)
    assert isinstance(start, StartTraining) and start.round == 8
    np.testing.assert_array_equal(start.vector, INITIAL)
    status = rounds.status
    assert (status.round, status.cohort, status.contributes_from, status.results) == (8, 3, 8, ())


@pytest.mark.parametrize("start_round", [-1, 0, 21])
def test_a_round_that_the_run_does_not_have(begin: MakeRounds, start_round: int) -> None:
    with pytest.raises(ValueError, match=f"round {start_round} of 20"):
        begin(start_round=start_round)


# -- listening ---------------------------------------------------------------------


def test_a_newcomer_listens_for_a_round_and_then_contributes(
    listen: MakeRounds, make_fragment: MakeFragment
) -> None:
    """Three others are in round 8. It comes to the very model that they compute."""
    rounds = listen(1, 1, 1)
    status = rounds.status
    assert (status.stage, status.state, status.cohort) == ("listening", "running", 3)
    assert (status.contributes_from, rounds.own_fragments()) == (0, None)

    actions = feed(rounds, make_fragment, 3, round=8, now=4.0)
    assert kinds(actions) == [Skipped, RoundClosed, Contribute, Evaluate]
    assert skips(actions) == [(1, 8)]
    closed, contribute, evaluate = actions[1:]
    assert isinstance(closed, RoundClosed) and isinstance(evaluate, Evaluate)
    np.testing.assert_array_equal(closed.vector, np.full(10, 2.0, np.float32))
    np.testing.assert_array_equal(evaluate.vector, closed.vector)
    assert contribute == Contribute(9)
    result = closed.result
    assert (result.round, result.listened, result.closed_by, result.cohort) == (8, True, "complete", 3)
    assert (result.fragments_received, result.fragments_expected) == (9, 9)
    assert (result.train_samples, result.train_loss, result.train_seconds) == (0, 0.0, 0.0)
    assert rounds.own_fragments() is None
    assert (rounds.status.cohort, rounds.status.rounds_skipped) == (3, 7)

    (start,) = rounds.evaluated(0.8, 10, now=6.0)
    assert isinstance(start, StartTraining) and start.round == 9
    assert rounds.status.cohort == 4
    assert rounds.status.results[0].round_seconds == 2.0
    assert kinds(train(rounds, now=8.0)) == [SendFragments]
    assert RoundClosed in kinds(feed(rounds, make_fragment, 3, round=9, now=9.0))
    assert rounds.status.results[-1].listened is False


def test_what_nobody_sent_stays_as_it_was(listen: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = listen(1, 1, grace_seconds=10.0)
    for value in (1.0, 3.0):
        for index in (0, 1):
            rounds.fragment(make_fragment(index, value), 1.0)
    assert rounds.next_deadline() == 11.0
    closed, *_ = rounds.tick(11.0)
    assert isinstance(closed, RoundClosed) and closed.result.closed_by == "grace"
    np.testing.assert_array_equal(closed.vector, np.float32([2] * 8 + [7] * 2))


def test_a_listeners_timeout_counts_from_its_beginning(listen: MakeRounds) -> None:
    rounds = listen(1, 1, start_round=3, round_timeout_seconds=50.0)
    assert rounds.next_deadline() == 50.0
    assert rounds.tick(49.9) == []
    closed, contribute, _ = rounds.tick(50.0)
    assert isinstance(closed, RoundClosed) and closed.result.closed_by == "timeout"
    assert closed.result.listened
    np.testing.assert_array_equal(closed.vector, INITIAL)
    assert contribute == Contribute(4)


def test_after_the_last_round_there_is_nothing_to_contribute_to(
    listen: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = listen(1, 1)
    actions = feed(rounds, make_fragment, 2, round=20)
    assert kinds(actions) == [Skipped, RoundClosed, Evaluate]
    assert rounds.evaluated(0.9, 10, 2.0) == [Finished()]
    assert (rounds.status.state, rounds.status.contributes_from) == ("finished", 0)
    assert rounds.own_fragments() is None


def test_with_nobody_to_listen_to_it_trains_at_once(begin: MakeRounds) -> None:
    rounds = begin(0, 0, start_round=5, listening=True)
    contribute, start = rounds.start(0.0)
    assert contribute == Contribute(5)
    assert isinstance(start, StartTraining) and start.round == 5
    assert (rounds.status.cohort, rounds.status.listeners) == (1, 2)


def test_when_all_contributors_go_it_trains_at_once(listen: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = listen(1, 1, 0)
    rounds.fragment(make_fragment(0, 4.0), 1.0)
    assert rounds.set_cohort([1, 0], now=2.0) == []
    assert kinds(rounds.set_cohort([0], now=3.0)) == [Contribute, StartTraining]
    assert rounds.status.contributes_from == 1
    closed = train(rounds, now=4.0, update=np.full(10, 2.0, np.float32))[1]
    assert isinstance(closed, RoundClosed)  # what it had heard is not lost
    np.testing.assert_array_equal(closed.vector, np.float32([3] * 4 + [2] * 6))


def test_who_has_announced_itself_for_later_is_waited_for(
    listen: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = listen(6)
    assert rounds.next_deadline() == 300.0
    assert rounds.tick(10.0) == []
    assert skips(feed(rounds, make_fragment, 1, round=6)) == [(1, 6)]


def test_pauses_of_a_listener(listen: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = listen(1, 1)
    rounds.pause(1.0)
    assert rounds.status.stage == "listening"
    assert kinds(feed(rounds, make_fragment, 2, round=1)) == [RoundClosed, Contribute]
    assert rounds.status.stage == "paused"
    assert kinds(rounds.resume(2.0)) == [Evaluate]


# -- jumping ahead -------------------------------------------------------------------


def test_who_is_behind_goes_where_half_of_the_others_are(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, 1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    assert feed(rounds, make_fragment, 1, round=4, now=2.0) == []
    assert rounds.status.stage == "exchanging"
    actions = feed(rounds, make_fragment, 1, round=4, now=3.0)
    assert actions == [Skipped(1, 4), Contribute(5)]  # nobody waits for its fragments of round 4
    status = rounds.status
    assert (status.stage, status.round, status.rounds_skipped, status.results) == ("listening", 4, 3, ())
    assert (status.cohort, status.fragments_received) == (4, 6)
    assert rounds.own_fragments() is None
    assert rounds.next_deadline() == 13.0  # half of it is there
    actions = feed(rounds, make_fragment, 2, round=4, now=4.0)
    assert kinds(actions) == [RoundClosed, Evaluate]
    assert kinds(rounds.evaluated(0.9, 1, 5.0)) == [StartTraining]
    assert rounds.status.results[0].round_seconds == 2.0


def test_an_update_that_comes_too_late_is_not_sent(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    """Though all others' fragments of the round are there: they have closed it without this peer's."""
    rounds = begin(1, 1)
    rounds.start(0.0)
    feed(rounds, make_fragment, 2, round=1)
    feed(rounds, make_fragment, 1, round=2)
    assert kinds(train(rounds, now=5.0)) == [Skipped, Dropped, Contribute]
    assert rounds.status.stage == "listening"


def test_who_only_lacks_what_is_on_its_way_does_not_jump(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    """The others had its update in time, and it half of theirs; the rest may have to be sent again."""
    rounds = begin(1, 1, grace_seconds=10.0)
    rounds.start(0.0)
    train(rounds, now=1.0)
    feed(rounds, make_fragment, 1, round=1, now=2.0)
    assert feed(rounds, make_fragment, 2, round=2, now=3.0) == []
    assert rounds.status.stage == "exchanging"
    assert rounds.next_deadline() == 12.0
    closed, _ = rounds.tick(12.0)
    assert isinstance(closed, RoundClosed) and closed.result.closed_by == "grace"
    assert kinds(rounds.evaluated(0.9, 1, now=13.0)) == [StartTraining]  # for the round where they are
    assert kinds(train(rounds, now=14.0)) == [SendFragments, RoundClosed, Evaluate]


def test_the_trainer_is_left_to_finish_and_its_update_dropped(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, 1, 1)
    rounds.start(0.0)
    feed(rounds, make_fragment, 1, round=1)
    for number in (2, 3, 4, 5, 6):
        assert all(isinstance(a, Dropped) for a in feed(rounds, make_fragment, 3, round=number))
    assert rounds.status.stage == "training"
    actions = train(rounds, now=9.0)
    assert actions[0] == Skipped(1, 6)
    assert actions[1] == Dropped(DropReason.ROUND_PAST, 3 + 9 + 9)  # rounds 1 and two of those between
    assert actions[2:] == [Contribute(7)]


def test_no_training_for_a_round_that_the_others_have_left(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    feed(rounds, make_fragment, 2, round=1, now=2.0)
    assert rounds.status.stage == "evaluating"
    feed(rounds, make_fragment, 2, round=4, now=3.0)
    actions = rounds.evaluated(0.9, 1, now=4.0)
    assert kinds(actions) == [Skipped, Contribute, RoundClosed, Evaluate]
    assert skips(actions) == [(2, 4)]
    assert [result.round for result in rounds.status.results] == [1, 4]
    assert rounds.status.results[0].round_seconds == 4.0


def test_a_listener_follows_the_others(listen: MakeRounds, make_fragment: MakeFragment) -> None:
    """Some of those who appear to it first were just about to leave their round."""
    rounds = listen(1, 1, 1, 1, 1, 1)
    feed(rounds, make_fragment, 2, round=7)
    assert skips(feed(rounds, make_fragment, 1, round=8)) == [(1, 7)]
    actions = feed(rounds, make_fragment, 3, round=9)
    assert skips(actions) == [(7, 8), (8, 9)]
    assert Dropped(DropReason.ROUND_PAST, 6) in actions
    assert (rounds.status.round, rounds.status.rounds_skipped) == (9, 8)


def test_a_listener_leaves_a_round_with_a_quorum_only_for_a_fuller_one(
    listen: MakeRounds, make_fragment: MakeFragment
) -> None:
    """Or it might run after ever so fast a cohort, and never be waited for."""
    rounds = listen(1, 1, grace_seconds=5.0)
    feed(rounds, make_fragment, 1, round=8, now=1.0)
    assert feed(rounds, make_fragment, 1, round=10, now=2.0) == []
    assert rounds.status.round == 8
    actions = [*rounds.fragment(make_fragment(0, round=10), 3.0)]
    assert actions == [Skipped(8, 10), Dropped(DropReason.ROUND_PAST, 3)]


def test_a_listener_closes_by_grace_and_then_goes_on_to_the_others(
    listen: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = listen(1, 1, grace_seconds=5.0)
    feed(rounds, make_fragment, 1, round=8, now=1.0)
    assert feed(rounds, make_fragment, 1, round=10, now=2.0) == []
    assert kinds(rounds.tick(6.0)) == [RoundClosed, Contribute, Evaluate]
    actions = rounds.evaluated(0.9, 1, now=7.0)
    assert actions == [Skipped(9, 10), Contribute(11)]


def test_a_cohort_that_shrinks_may_have_gone_ahead(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 1, 1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    feed(rounds, make_fragment, 1, round=3)
    assert skips(rounds.set_cohort([1, 1], now=2.0)) == [(1, 3)]


def test_a_jump_to_the_last_round_leaves_nothing_to_contribute_to(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    actions = feed(rounds, make_fragment, 2, round=20)
    assert kinds(actions) == [Skipped, Contribute, RoundClosed, Evaluate]
    assert actions[1] == Contribute(0)
    assert rounds.evaluated(0.9, 10, 2.0) == [Finished()]


def test_a_jump_waits_for_the_end_of_a_pause(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    rounds.pause(0.5)
    assert train(rounds, now=1.0) == []
    assert feed(rounds, make_fragment, 2, round=3) == []
    assert (rounds.status.stage, rounds.status.round) == ("paused", 1)
    assert kinds(rounds.resume(5.0)) == [Skipped, Contribute, RoundClosed, Evaluate]


def test_when_the_others_go_after_a_jump_it_contributes_at_once(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    assert feed(rounds, make_fragment, 1, round=3) == [Skipped(1, 3), Contribute(4)]
    contribute, start = rounds.set_cohort([0, 0], now=3.0)
    assert contribute == Contribute(3)
    assert isinstance(start, StartTraining) and start.round == 3


def test_give_ups_of_what_was_skipped_are_forgotten(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    train(rounds, now=1.0)
    rounds.gave_up(1)
    feed(rounds, make_fragment, 2, round=3)
    rounds.gave_up(1)
    assert [result.gave_up for result in rounds.status.results] == [0]


# -- for newcomers -------------------------------------------------------------------


def test_own_fragments_are_there_while_they_may_be_of_use(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, rounds=2)
    assert rounds.own_fragments() is None
    rounds.start(0.0)
    assert rounds.own_fragments() is None
    for number in (1, 2):
        update = np.arange(10, dtype=np.float32) + number
        (sent,) = train(rounds, now=1.0, update=update)
        held = [rounds.own_fragments()]
        feed(rounds, make_fragment, 1, round=number)
        held.append(rounds.own_fragments())
        rounds.evaluated(0.9, 1, now=2.0)
        if number == 2:
            held.append(rounds.own_fragments())
            assert rounds.status.state == "finished"
        else:
            assert rounds.own_fragments() is None
        assert isinstance(sent, SendFragments)
        for own in held:
            assert own is not None and own.round == number
            joined = np.concatenate([values for _, values in sorted(own.fragments, key=lambda f: f[0])])
            np.testing.assert_array_equal(joined, update)
            assert sorted(index for index, _ in own.fragments) == [0, 1, 2]


def test_their_order_is_new_each_time(layout: Layout, make_spec: Callable[..., RunSpec]) -> None:
    layout = Layout(100, 2)
    rounds = Rounds(make_spec(), layout, np.zeros(100, np.float32), [1], 0.0, random.Random(1))
    rounds.start(0.0)
    train(rounds, 1.0, np.arange(100, dtype=np.float32))
    orders = set()
    for _ in range(3):
        own = rounds.own_fragments()
        assert own is not None
        orders.add(tuple(index for index, _ in own.fragments))
    assert len(orders) == 3


def test_no_own_fragments_before_they_are_sent_and_after_a_stop(begin: MakeRounds) -> None:
    rounds = begin(1)
    rounds.start(0.0)
    rounds.pause(0.5)
    train(rounds, now=1.0)
    assert rounds.own_fragments() is None
    rounds.resume(2.0)
    assert rounds.own_fragments() is not None
    rounds.stop(3.0)
    assert rounds.own_fragments() is None


# -- late ones -------------------------------------------------------------------------


def test_stale_fragments_count_less_and_complete_nothing(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, stale="use", start_round=5)
    rounds.start(0.0)
    for index in range(3):
        assert rounds.fragment(make_fragment(index, 8.0, round=4), 0.5) == []
    assert rounds.fragment(make_fragment(0, round=3), 0.5) == [Dropped(DropReason.ROUND_PAST)]
    assert rounds.status.fragments_received == 0
    train(rounds, now=1.0)
    actions = feed(rounds, make_fragment, 2, round=5)
    closed = actions[0]
    assert isinstance(closed, RoundClosed)
    np.testing.assert_allclose(closed.vector, np.full(10, (4 + 1 + 2 + 0.5 * 8) / 3.5), rtol=1e-6)
    assert (closed.result.stale_fragments, closed.result.fragments_received) == (3, 6)
    for index in range(3):  # of the round that has just closed: for the next
        assert rounds.fragment(make_fragment(index, 8.0, round=5), 2.0) == []
    rounds.evaluated(0.9, 1, now=3.0)
    train(rounds, now=4.0)
    rounds.set_cohort([], now=5.0)
    assert rounds.status.results[-1].stale_fragments == 3


@pytest.mark.parametrize(("there", "sends"), [(2, True), (3, True), (4, False)])
def test_a_slow_peers_update_still_goes_out_where_it_counts(
    begin: MakeRounds, make_fragment: MakeFragment, there: int, sends: bool
) -> None:
    rounds = begin(1, 1, 1, stale="use", stale_rounds=2)
    rounds.start(0.0)
    feed(rounds, make_fragment, 2, round=there)
    actions = train(rounds, now=9.0)
    assert kinds(actions) == [SendFragments] * sends + [Skipped, Contribute]
    if sends:
        assert isinstance(actions[0], SendFragments) and actions[0].round == 1


def test_with_a_use_for_late_updates_it_trains_also_behind_the_others(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, stale="use")
    rounds.start(0.0)
    train(rounds, now=1.0)
    feed(rounds, make_fragment, 2, round=1, now=2.0)
    feed(rounds, make_fragment, 1, round=3, now=3.0)
    assert kinds(rounds.evaluated(0.9, 1, now=4.0)) == [StartTraining]
    assert kinds(train(rounds, now=5.0)) == [SendFragments, Skipped, Contribute]
