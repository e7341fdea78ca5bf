"""Rounds over the simulated mixnet: two halves that were apart end in one round, with one model."""

from __future__ import annotations

import pytest
from plays.learners import DIRECT, assert_same_model, enrol, numbers, until_all_finish

from peerd.config import MixingConfig


@pytest.mark.parametrize("behind", [1, 4, 6, *(pytest.param(n, marks=pytest.mark.soak) for n in (3, 5))])
def test_two_halves_merge(network, behind):
    """In the round of those ahead if they are enough, else those behind come up to them; to one model."""
    net = network(7, seed=50 + behind, mixing=DIRECT, dead_after=1.0)
    course = enrol(net, 7, rounds=24, grace_seconds=4.0, round_timeout_seconds=60.0)
    slow, fast = range(behind), range(behind, 7)
    for learner in course.values():
        learner.seconds = 2.0 if learner.index in slow else 1.0
    net.run(5.0)
    net.partition(slow, fast)
    net.run(10.0)
    apart = {learner.index: learner.rounds.status.round for learner in course.values()}
    ahead = max(apart.values())
    assert max(apart[index] for index in slow) < min(apart[index] for index in fast)
    assert course[0].results[-1].cohort == behind
    assert course[6].results[-1].cohort == 7 - behind
    assert course[0].models[apart[0] - 1].tobytes() != course[6].models[apart[0] - 1].tobytes()
    net.heal()
    until_all_finish(net, course.values())
    for number in range(ahead + 3, 25):
        assert_same_model(course.values(), number)
        assert all(learner.results[number - 25].cohort == 7 for learner in course.values())
    assert not any(course[index].jumps for index in fast)
    if len(fast) >= 3:
        assert all(course[index].jumps for index in slow)
    for learner in course.values():
        assert numbers(learner) == sorted(set(numbers(learner)))
        assert all(result.closed_by != "timeout" for result in learner.results)


def test_halves_that_need_mix_nodes_merge(network):
    """A half of three or four can still mix over one hop."""
    mixing = MixingConfig(hops=1, loop_rate_per_second=0.0, drop_rate_per_second=0.0)
    net = network(7, seed=60, mixing=mixing, dead_after=1.0, loss=0.01)
    course = enrol(net, 7, rounds=16, seconds=1.0, grace_seconds=6.0, round_timeout_seconds=60.0)
    course[6].seconds = 1.5
    net.run(3.0)
    net.partition(range(3), range(3, 7))
    net.run(8.0)
    net.heal()
    until_all_finish(net, course.values())
    assert_same_model(course.values(), 16)
    for learner in course.values():
        assert learner.results[-1].cohort == 7
