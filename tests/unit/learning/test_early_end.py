"""A run that ends before its last round: what is measured, what the others are told, who is waited for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.actions import (
    Action,
    Contribute,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    SendModel,
    StartTraining,
)
from peerd.status import RoundResult
from peerd.types import RunSpec

MakeFragment = Callable[..., Fragment]
INITIAL = np.zeros(10, np.float32)
OWN = np.full(10, 4.0, np.float32)


class Peer:
    def __init__(self, rounds: Rounds, fragment: MakeFragment) -> None:
        self.rounds = rounds
        self.fragment = fragment

    def close(self, number: int, others: int = 2) -> list[Action]:
        """Train and take the others' fragments."""
        actions = list(self.rounds.trained(OWN, 0.5, 0.9, 100, 10.0 * number))
        for value in range(others):
            for index in range(3):
                actions += self.rounds.fragment(
                    self.fragment(index, float(value), round=number), 10.0 * number
                )
        return actions

    def measure(self, accuracy: float, samples: int = 50) -> list[Action]:
        return self.rounds.evaluated(accuracy, samples, 500.0)


@pytest.fixture
def make_peer(layout: Layout, make_spec: Callable[..., RunSpec], make_fragment: MakeFragment):
    def make(others: Sequence[int] = (1, 1), begin: bool = True, **given: Any) -> Peer:
        names = ("earlier", "lacking", "listening", "start_round")
        how = {name: given.pop(name) for name in names if name in given}
        spec = make_spec(**{"rounds": 9} | given)
        rounds = Rounds(spec, layout, INITIAL, others, 0.0, random.Random(1), **how)
        if begin:
            rounds.start(0.0)
        return Peer(rounds, make_fragment)

    return make


def test_at_the_target_the_model_is_measured_on_all_and_that_was_it(make_peer) -> None:
    peer = make_peer(target_accuracy=0.9, test_samples=50)
    peer.close(1)
    assert isinstance(peer.measure(0.8)[0], StartTraining)
    peer.close(2)
    (again,) = peer.measure(0.92)
    assert isinstance(again, Evaluate) and (again.round, again.whole) == (2, True)
    np.testing.assert_array_equal(again.vector, peer.rounds.model)
    assert peer.rounds.status.stage == "evaluating" and peer.rounds.status.ended_by == ""
    assert peer.measure(0.88, 360) == [Contribute(-2), Finished()], "the decision stands"
    status = peer.rounds.status
    assert (status.state, status.ended_by, status.round) == ("finished", "target", 2)
    assert [(result.accuracy, result.test_samples) for result in status.results] == [(0.8, 50), (0.88, 360)]


def test_what_was_measured_on_all_is_not_measured_again(make_peer) -> None:
    peer = make_peer(patience=1)
    peer.close(1)
    peer.measure(0.8)
    peer.close(2)
    assert peer.measure(0.8) == [Contribute(-2), Finished()]
    assert peer.rounds.status.ended_by == "patience"


def test_the_last_round_is_measured_once_and_all_know_that_nothing_comes_after_it(make_peer) -> None:
    peer = make_peer(rounds=1, target_accuracy=0.9, test_samples=50)
    peer.close(1)
    assert peer.measure(0.95, 360) == [Finished()]
    assert peer.rounds.status.ended_by == "target"


def test_a_peer_that_has_finished_still_gives_its_last_fragments(make_peer) -> None:
    peer = make_peer(target_accuracy=0.5)
    peer.close(1)
    peer.measure(0.5)
    again = peer.rounds.own_fragments()
    assert isinstance(again, SendFragments) and again.round == 1


def test_one_that_only_listened_in_its_last_round_gives_none(make_peer) -> None:
    peer = make_peer(others=(3, 3), target_accuracy=0.5, listening=True, start_round=3)
    actions: list[Action] = []
    for value in range(2):
        for index in range(3):
            actions += peer.rounds.fragment(peer.fragment(index, float(value), round=3), 1.0)
    assert Contribute(4) in actions
    assert peer.measure(0.6) == [Contribute(0), Finished()]


def test_who_goes_on_does_not_wait_for_those_that_have_finished(make_peer) -> None:
    peer = make_peer()
    peer.close(1)
    peer.measure(0.5)
    peer.rounds.set_cohort([-1, 1], 20.0)
    peer.rounds.trained(OWN, 0.5, 0.9, 100, 21.0)
    assert (peer.rounds.status.fragments_expected, peer.rounds.status.cohort) == (3, 2)
    assert peer.rounds.status.listeners == 0
    peer.rounds.set_cohort([-1, -1], 22.0)
    assert peer.rounds.status.stage == "evaluating", "nobody is left"


def test_who_is_behind_waits_for_their_last_fragments(make_peer) -> None:
    peer = make_peer()
    peer.rounds.set_cohort([-1, -1], 5.0)
    peer.rounds.trained(OWN, 0.5, 0.9, 100, 6.0)
    assert (peer.rounds.status.fragments_expected, peer.rounds.status.stage) == (6, "exchanging")


def test_who_comes_back_takes_the_model_that_the_others_have_finished_with(make_peer) -> None:
    """And with what it measured before the crash, ends as they did."""
    earlier = [RoundResult(round=2, accuracy=0.8, test_samples=9)]
    peer = make_peer(others=(-4, -4), patience=2, start_round=3, listening=True, earlier=earlier)
    assert peer.rounds.status.stage == "listening"
    actions: list[Action] = []
    for value in range(2):
        for index in range(3):
            actions += peer.rounds.fragment(peer.fragment(index, float(value), round=4), 1.0)
    (closed,) = [action for action in actions if isinstance(action, RoundClosed)]
    assert (closed.result.round, closed.result.listened) == (4, True)
    assert peer.measure(0.8)[-1] == Finished()
    assert peer.rounds.status.ended_by == "patience"


# -- runs that begin with the model of another ------------------------------------------------------------

INITIAL_MODEL = {"initial_run": "ab" * 16, "initial_round": 4, "initial_sha256": "cd" * 32}


def test_who_lacks_the_initial_model_never_trains_from_another_one(make_peer) -> None:
    peer = make_peer(others=(), listening=True, lacking=True, **INITIAL_MODEL)
    assert peer.rounds.status.stage == "listening"
    assert peer.rounds.next_deadline() is None
    assert peer.rounds.tick(10_000.0) == []
    peer.rounds.set_cohort([1], 10_000.0)
    deadline = peer.rounds.next_deadline()
    assert deadline is not None and peer.rounds.tick(deadline) == [], "they are slow; it waits on"
    assert peer.rounds.status.stage == "listening"
    actions: list[Action] = []
    for index in range(3):
        actions += peer.rounds.fragment(peer.fragment(index, 3.0), 20_000.0)
    assert any(isinstance(action, RoundClosed) for action in actions)
    np.testing.assert_array_equal(peer.rounds.model, np.full(10, 3.0, np.float32))
    peer.measure(0.5)
    assert peer.rounds.status.stage == "training"


def test_with_deltas_it_is_given_the_model_in_the_first_round(make_peer) -> None:
    peer = make_peer(others=(1, 0), begin=False, delta=True, **INITIAL_MODEL)
    assert any(isinstance(action, SendModel) for action in peer.rounds.start(0.0))
    without = make_peer(others=(1, 0), begin=False, delta=True)
    assert not any(isinstance(action, SendModel) for action in without.rounds.start(0.0))


def test_with_deltas_who_is_behind_takes_the_model_of_those_who_have_ended(make_peer, layout):
    """And does not train from one that adds up to nothing that anybody has."""
    peer = make_peer(others=(-6, -6), begin=False, delta=True, listening=True, start_round=7)
    assert peer.rounds.start(1.0) == []
    assert peer.rounds.next_deadline() is not None
    model = np.arange(10, dtype=np.float32)
    run = peer.fragment(0, 0.0).run
    for index in range(layout.fragments):
        where = layout.slice(index)
        told = peer.rounds.fragment(Fragment(run, 7, index, model[where].tobytes(), of_model=True), 2.0)
        assert bool(told) == (index == layout.fragments - 1)
    (train,) = [action for action in told if isinstance(action, StartTraining)]
    assert (train.round, train.vector.tolist()) == (7, model.tolist())


def test_if_they_give_nothing_it_goes_on_with_its_own(make_peer):
    peer = make_peer(others=(-6,), begin=False, delta=True, listening=True, start_round=7)
    assert peer.rounds.start(1.0) == []
    told = peer.rounds.tick(peer.rounds.next_deadline())
    assert [action.vector.tolist() for action in told if isinstance(action, StartTraining)] == [[0.0] * 10]


def test_where_some_have_ended_a_round_of_parts_still_waits_for_the_slower_ones(make_peer):
    """What there can be is a matter of those who are still there."""
    peer = make_peer(others=(1, 1, 1, 1, -1, -1, -1), dissemination="random-k", fanout=2, start_round=3)
    collected = peer.rounds._collected
    for index in range(2):
        assert not collected.none_missing(3)
        for value in range(4):
            collected.add(peer.fragment(index, float(value), round=3))
    assert collected.none_missing(3)
