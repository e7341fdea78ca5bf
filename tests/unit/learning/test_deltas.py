"""Rounds with deltas: playbooks of a newcomer, of one that falls behind, and of those who help."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.actions import (
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
from peerd.types import DropReason, RunSpec

MakeFragment = Callable[..., Fragment]
MakeRounds = Callable[..., Rounds]
INITIAL = np.full(10, 7.0, np.float32)


@pytest.fixture
def begin(layout: Layout, make_spec: Callable[..., RunSpec]) -> MakeRounds:
    def make(*others: int, listening: bool = False, start_round: int = 1, **spec: Any) -> Rounds:
        fields = {"rounds": 20, "delta": True, **spec}
        return Rounds(
            make_spec(**fields), layout, INITIAL, others, 0.0, random.Random(1),
            start_round=start_round, listening=listening,
        )  # fmt: skip

    return make


def slice_of(make: MakeFragment, index: int, value: float, round: int) -> Fragment:
    fragment = make(index, value, round=round)
    return Fragment(fragment.run, fragment.round, fragment.index, fragment.data, of_model=True)


def feed(rounds: Rounds, make: MakeFragment, peers: int, round: int, now: float) -> list[Any]:
    return [
        action
        for _ in range(peers)
        for index in range(3)
        for action in rounds.fragment(make(index, 0.5, round=round), now)
    ]


def test_fragments_carry_the_change_and_the_next_model_is_base_plus_mean(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    (send,) = rounds.trained(INITIAL + 2.0, 0.1, 0.9, 10, 1.0)
    assert isinstance(send, SendFragments)
    assert all(np.asarray(data).tolist() == [2.0] * len(data) for _, data in send.fragments)
    closed = feed(rounds, make_fragment, 2, round=1, now=2.0)[0]
    assert isinstance(closed, RoundClosed)
    np.testing.assert_array_equal(closed.vector, INITIAL + 1.0)  # (2 + 0.5 + 0.5) / 3


def test_a_newcomer_listens_until_it_knows_the_whole_base(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    """Round 8: two slices of three come. Round 9: the third. The deltas of both are added."""
    rounds = begin(1, 1, listening=True)
    rounds.start(0.0)
    for index in (0, 1):
        assert rounds.fragment(slice_of(make_fragment, index, 3.0, 8), 1.0) == []
    assert [type(action) for action in feed(rounds, make_fragment, 2, 8, 2.0)] == [Skipped]
    actions = rounds.tick(2.0 + 10.0)  # all is there but one slice: by grace
    assert [type(action) for action in actions] == [RoundClosed, Evaluate]
    assert rounds.base_for_newcomer() is None
    assert rounds.evaluated(0.5, 10, 13.0) == []
    assert (rounds.status.stage, rounds.status.contributes_from) == ("listening", 0)

    assert rounds.fragment(slice_of(make_fragment, 2, 4.0, 9), 14.0) == []
    closed, contribute, _ = feed(rounds, make_fragment, 2, 9, 15.0)
    assert contribute == Contribute(10)
    np.testing.assert_array_equal(closed.vector, [3.0 + 0.5 + 0.5] * 8 + [4.0 + 0.5] * 2)
    assert any(isinstance(action, StartTraining) for action in rounds.evaluated(0.5, 10, 16.0))


def test_who_falls_behind_says_that_it_only_listens(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 1)
    rounds.start(0.0)
    rounds.trained(INITIAL, 0.1, 0.9, 10, 1.0)
    actions = feed(rounds, make_fragment, 2, 5, 2.0)
    assert [type(action) for action in actions] == [Skipped, Contribute]
    assert actions[1] == Contribute(0)
    assert rounds.status.stage == "listening"


def test_with_nobody_to_ask_the_own_model_is_the_base(begin: MakeRounds) -> None:
    rounds = begin(0, 0, listening=True, start_round=4)
    contribute, shared, train = rounds.start(0.0)
    assert contribute == Contribute(4) and isinstance(train, StartTraining)
    assert isinstance(shared, SendModel) and sorted(shared.newcomers) == [0, 1, 2]


def test_who_contributes_gives_its_base_to_newcomers(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 0)
    rounds.start(0.0)
    shared = rounds.base_for_newcomer()
    assert shared is not None and shared.round == 1 and sorted(shared.newcomers) == [0, 1, 2]
    rounds.trained(INITIAL, 0.1, 0.9, 10, 1.0)
    feed(rounds, make_fragment, 1, 1, 2.0)
    shared = rounds.base_for_newcomer()
    assert shared is not None and shared.round == 2
    parcels = shared.parcels(7, shared.newcomers)
    assert len({parcel.place for parcel in parcels}) == 3
    again = rounds.evaluated(0.5, 10, 3.0)
    assert isinstance(again[0], SendModel) and again[0].round == 2 and len(again[0].newcomers) == 3


def finish(rounds: Rounds, make: MakeFragment, others: int, now: float) -> list[Any]:
    """Go through the last round; what is asked for at its end."""
    rounds.trained(INITIAL + 2.0, 0.1, 0.9, 10, now)
    feed(rounds, make, others, rounds.status.round, now)
    return rounds.evaluated(0.5, 10, now)


def test_who_has_come_to_the_end_gives_its_model_to_latecomers(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, rounds=1)
    rounds.start(0.0)
    assert [type(action) for action in finish(rounds, make_fragment, 2, 1.0)] == [Finished]
    shared = rounds.base_for_newcomer()
    assert shared is not None and shared.round == 2 and sorted(shared.newcomers) == [0, 1, 2]
    assert (shared.model == rounds.model).all()
    rounds.stop(2.0)
    assert rounds.base_for_newcomer() is not None  # it had finished before


def test_who_listens_in_the_last_round_is_given_the_model_at_its_end(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, 0, rounds=1)
    rounds.start(0.0)
    shared, finished = finish(rounds, make_fragment, 2, 1.0)
    assert isinstance(shared, SendModel) and isinstance(finished, Finished)
    assert shared.round == 2 and sorted(shared.newcomers) == [0, 1, 2] and not shared.everyone


def test_a_latecomer_takes_the_model_of_the_end(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    """Whatever the deltas of the last round are, of which some may never come."""
    rounds = begin(1, 1, listening=True)
    rounds.start(0.0)
    feed(rounds, make_fragment, 2, 20, 1.0)
    assert rounds.status.round == 20
    for value in (3.0, 3.0, 9.0):
        for index in (0, 1):
            assert rounds.fragment(slice_of(make_fragment, index, value, 21), 2.0) == []
    assert rounds.tick(2.0 + 10.0) == []  # it waits, beyond the grace
    closed, evaluate = rounds.fragment(slice_of(make_fragment, 2, 4.0, 21), 13.0)
    assert isinstance(closed, RoundClosed) and isinstance(evaluate, Evaluate)
    assert closed.result.listened and closed.result.closed_by == "complete"
    assert closed.vector.tolist() == [3.0] * 8 + [4.0] * 2
    assert rounds.evaluated(0.5, 10, 14.0) == [Finished()]
    assert rounds.base_for_newcomer() is not None  # and now it can give it to others


def test_one_member_alone_cannot_say_that_the_run_is_over(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, 1, listening=True)
    rounds.start(0.0)
    for index in range(3):
        assert rounds.fragment(slice_of(make_fragment, index, 66.0, 21), 1.0) == []
        assert rounds.fragment(slice_of(make_fragment, index, 3.0, 4), 1.0) == []
    assert [type(action) for action in feed(rounds, make_fragment, 3, 4, 2.0)][:2] == [Skipped, RoundClosed]
    assert (rounds.status.round, rounds.model[0]) == (4, 3.5)


def test_a_latecomer_to_whom_nobody_can_give_the_model_has_failed(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, listening=True, round_timeout_seconds=60.0)
    rounds.start(0.0)
    feed(rounds, make_fragment, 2, 20, 1.0)
    assert rounds.fragment(slice_of(make_fragment, 0, 3.0, 21), 2.0) == []
    deadline = rounds.next_deadline()
    assert deadline == 61.0
    (failed,) = rounds.tick(deadline)
    assert isinstance(failed, Failed) and "\n" not in failed.error
    assert (rounds.status.state, rounds.status.stage, rounds.status.results) == ("failed", "done", ())
    assert rounds.base_for_newcomer() is rounds.own_fragments() is rounds.next_deadline() is None


def test_slices_of_the_end_are_for_who_has_not_come_to_it(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 1, rounds=1)
    rounds.start(0.0)
    late = slice_of(make_fragment, 0, 3.0, 2)
    assert rounds.fragment(slice_of(make_fragment, 0, 3.0, 3), 0.5) == [Dropped(DropReason.ROUND_AHEAD)]
    assert rounds.fragment(make_fragment(0, 3.0, round=2), 0.5) == [Dropped(DropReason.ROUND_AHEAD)]
    assert rounds.fragment(late, 0.5) == []
    finish(rounds, make_fragment, 2, 1.0)
    assert rounds.fragment(late, 2.0) == [Dropped(DropReason.ROUND_PAST)]
    models = begin(1, 1, rounds=1, delta=False)
    models.start(0.0)
    assert models.fragment(late, 0.5) == [Dropped(DropReason.ROUND_AHEAD)]


def test_without_deltas_nobody_sends_or_takes_slices_of_models(
    begin: MakeRounds, make_fragment: MakeFragment
) -> None:
    rounds = begin(1, 0, delta=False)
    rounds.start(0.0)
    assert rounds.base_for_newcomer() is None
    refused = rounds.fragment(slice_of(make_fragment, 0, 3.0, 1), 1.0)
    assert refused == [Dropped(DropReason.BAD_FRAGMENT)]


def test_late_or_broken_slices_are_refused(begin: MakeRounds, make_fragment: MakeFragment) -> None:
    rounds = begin(1, 1, stale="use", start_round=3)
    rounds.start(0.0)
    assert rounds.fragment(slice_of(make_fragment, 0, 3.0, 2), 1.0) == [Dropped(DropReason.ROUND_PAST)]
    assert rounds.fragment(slice_of(make_fragment, 0, np.nan, 3), 1.0) == [Dropped(DropReason.NOT_FINITE)]
