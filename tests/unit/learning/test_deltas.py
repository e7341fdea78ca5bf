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
