"""Rounds over the simulated mixnet: who joins late, who comes back, and all of them after a power cut."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from plays.learners import (
    COVER,
    Learner,
    assert_same_model,
    come_back,
    crash,
    enrol,
    mean,
    numbers,
    until_all_finish,
)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0])
def test_a_late_joiner_listens_for_a_round_and_contributes_from_the_next(network, seed, seconds):
    """In time, if the others train for longer than it takes to tell them; else when they hear of it."""
    mixing = COVER if seconds else structs.replace(COVER, hops=3)  # or all rounds are over too soon
    net = network(7, seed=20 + seed, mixing=mixing, loss=0.01)
    course = enrol(net, 6, rounds=9, seconds=seconds)
    early = list(course.values())
    net.run(600.0, until=lambda: min(len(learner.models) for learner in early) == 3)
    net.run(net.rng.random() * 3)
    late = Learner(net, course, 6, early[0].spec, seconds, listening=True)
    until_all_finish(net, course.values())
    first, *rest = late.results
    assert first.listened and first.cohort == 6 and first.closed_by == "complete"
    np.testing.assert_array_equal(late.models[first.round], early[0].models[first.round])
    contributed = [result.round for result in rest if not result.listened]
    assert contributed[-1] == 9
    if seconds:
        assert contributed == list(range(first.round + 1, 10))
    for number in contributed if seconds else [9]:
        assert_same_model(course.values(), number)
        np.testing.assert_allclose(late.models[number], mean(course.values(), number), atol=1e-6)
    for learner in early:
        assert numbers(learner) == list(range(1, 10))
        assert {result.closed_by for result in learner.results} == {"complete"}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("away", [2, 5])
def test_who_returns_from_its_checkpoint_jumps_to_where_the_others_are(network, seed, away):
    net = network(6, seed=30 + seed, mixing=COVER, loss=0.01, dead_after=1.0)
    course = enrol(net, 6, rounds=10, seconds=1.0)
    mortal, *others = course.values()
    net.run(600.0, until=lambda: len(mortal.models) == 2)
    net.run(net.rng.random() * 1.5)
    checkpoint = crash(net, mortal)
    net.run(600.0, until=lambda: min(len(learner.models) for learner in others) >= 2 + away)
    back = come_back(net, course, mortal, checkpoint)
    until_all_finish(net, course.values())
    assert back.jumps and back.jumps[0][0] == checkpoint[0] + 1
    first, *rest = back.results
    assert first.round >= 2 + away and first.listened
    np.testing.assert_array_equal(back.models[first.round], others[0].models[first.round])
    assert [result.round for result in rest] == list(range(first.round + 1, 11))
    assert [result.cohort for result in rest] == [6] * len(rest)
    assert_same_model(course.values(), 10)
    for learner in others:
        assert numbers(learner) == list(range(1, 11))
        assert all(result.closed_by in ("complete", "grace") for result in learner.results)


def test_after_a_power_cut_all_go_on_from_their_checkpoints(network):
    """Everybody listens, nobody speaks: then they train. One's disk was a round behind."""
    net = network(6, seed=40, mixing=COVER, dead_after=1.0)
    course = enrol(net, 6, rounds=8, seconds=1.0)
    old = list(course.values())
    net.run(600.0, until=lambda: min(len(learner.models) for learner in old) == 4)
    saved = [crash(net, learner) for learner in old]
    saved[0] = (3, old[0].models[3])
    net.run(5.0)
    for learner, checkpoint in zip(old, saved, strict=True):
        come_back(net, course, learner, checkpoint)
    until_all_finish(net, course.values())
    assert_same_model(course.values(), 8)
    for learner in course.values():
        assert learner.results[-1].cohort == 6
        assert numbers(learner)[-3:] == [6, 7, 8]
