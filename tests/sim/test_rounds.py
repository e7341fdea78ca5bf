"""Federated averaging over the simulated mixnet: `Rounds` of every peer, with a stand-in for the trainer."""

from __future__ import annotations

import numpy as np
import pytest
from plays.learners import COVER, assert_same_model, enrol, mean, numbers, until_all_finish

from peerd.config import MixingConfig
from peerd.sphinx import Epochs
from peerd.types import DropReason


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", [0.0, 0.03])
@pytest.mark.parametrize("direct", [False, True])
def test_all_rounds_complete_and_all_models_are_the_same(network, seed, loss, direct):
    mixing = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3, direct=direct)
    net = network(6, seed=seed, mixing=mixing, loss=loss, epochs=Epochs(10.0, 5.0), skew_seconds=0.5)
    learners = list(enrol(net, 6, rounds=4).values())
    until_all_finish(net, learners)
    for learner in learners:
        assert [result.closed_by for result in learner.results] == ["complete"] * 4
        expected = 5 * learner.layout.fragments
        assert all(r.fragments_received == r.fragments_expected == expected for r in learner.results)
        assert numbers(learner) == [1, 2, 3, 4]
        for number in numbers(learner):
            np.testing.assert_allclose(learner.models[number], mean(learners, number), atol=1e-6)
        assert not learner.dropped
        # An answer may still be on its way when the round after the next begins: then it is not waited for.
        assert all(lost.reason is DropReason.CANCELLED for lost in learner.peer.gave_up)
    for number in (1, 2, 3, 4):
        assert_same_model(learners, number)  # to the last bit
    if not loss:
        assert sum(learner.peer.resent for learner in learners) <= 5


@pytest.mark.parametrize("seed", range(3))
def test_a_death_in_the_middle_is_not_waited_for(network, seed):
    net = network(6, seed=10 + seed, mixing=COVER, loss=0.01, dead_after=3.0)
    learners = list(enrol(net, 6, rounds=5).values())
    dead, *living = net.rng.sample(learners, 6)
    net.run(600.0, until=lambda: all(len(learner.models) >= 2 for learner in living))
    net.run(net.rng.random() * 0.3)
    net.kill(dead.index)
    until_all_finish(net, living)
    for learner in living:
        assert numbers(learner) == [1, 2, 3, 4, 5]
        assert all(result.closed_by in ("complete", "grace") for result in learner.results)
        assert learner.results[-1].cohort == 5
        assert learner.results[-1].closed_by == "complete"
        np.testing.assert_allclose(learner.models[5], mean(living, 5), atol=1e-6)
        assert all(lost.reason is not DropReason.GAVE_UP for lost in learner.peer.gave_up)
    for number in (1, 2, 5):
        assert_same_model(living, number)


def slow_one_among_five(network, seconds, **spec):
    net = network(6, seed=70, mixing=COVER)
    course = enrol(net, 6, rounds=10, seconds=1.0, grace_seconds=3.0, **spec)
    slow, *fast = course.values()
    slow.seconds = seconds
    until_all_finish(net, course.values())
    return slow, fast


def test_a_slow_peer_holds_the_fast_ones_no_longer_than_the_grace(network):
    slow, fast = slow_one_among_five(network, seconds=20.0)
    for learner in fast:
        assert numbers(learner) == list(range(1, 11))
        assert all(result.exchange_seconds <= 3.0 + 2.0 for result in learner.results)
        assert {result.closed_by for result in learner.results} <= {"complete", "grace"}
    assert slow.jumps
    assert all(result.listened for result in slow.results)
    assert slow.results[-1].round == 10
    assert_same_model([slow, *fast], 10)
    assert not any(result.stale_fragments for learner in fast for result in learner.results)


def test_a_slow_peers_updates_count_less_where_stale_ones_are_used(network):
    slow, fast = slow_one_among_five(network, seconds=6.0, stale="use", stale_rounds=3)
    late = [result.stale_fragments for learner in fast for result in learner.results]
    assert sum(late) > 0
    assert max(late) <= slow.layout.fragments
    for learner in fast:
        assert numbers(learner) == list(range(1, 11))
        assert all(result.exchange_seconds <= 3.0 + 2.0 for result in learner.results)
    assert slow.results[-1].round == 10
