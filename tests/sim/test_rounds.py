"""Federated averaging over the simulated mixnet: `Rounds` of every peer, with training that takes no time."""

from __future__ import annotations

import numpy as np
import pytest

from peerd.config import MixingConfig
from peerd.learning import Fragment, Layout, Rounds, decode_payload, fragment_values
from peerd.learning.fragment import encode_fragment
from peerd.learning.rounds import Dropped, Evaluate, Finished, RoundClosed, SendFragments, StartTraining
from peerd.sphinx import Epochs
from peerd.types import DropReason, RunSpec

PARAMETERS = 500
RUN = "00000000000000070000000000000000"
COVER = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3)


class Learner:
    """What the node and the run do for `Rounds`, on the world's clock."""

    def __init__(self, net, index, rounds):
        self.net = net
        self.index = index
        self.peer = net[index]
        self.spec = RunSpec(run_id=RUN, task="digits-cnn", rounds=rounds, quorum=0.6, grace_seconds=40.0)
        self.layout = Layout(PARAMETERS, fragment_values(self.peer.mixnet.delivery.payload_bytes))
        self.cohort = len(self.peer.view.alive()) + 1
        self.rounds = Rounds(
            self.spec, self.layout, np.zeros(PARAMETERS, np.float32), self.cohort, net.now, net.rng
        )
        self.models: list[np.ndarray] = []
        self.finished = False
        self.dropped: list[DropReason] = []
        self.peer.on_received = self.received
        net.at(net.now, lambda: self.act(self.rounds.start(net.now)))
        net.at(net.now, self.look)

    def look(self):
        """As the node does at each change of the view, and at each of the rounds' deadlines."""
        if not self.peer.up:
            return
        cohort = len(self.peer.view.alive()) + 1
        if cohort != self.cohort:
            self.cohort = cohort
            self.act(self.rounds.set_cohort(cohort, self.net.now))
        deadline = self.rounds.next_deadline()
        if deadline is not None and deadline <= self.net.now:
            self.act(self.rounds.tick(self.net.now))
        self.net.at(self.net.now + 0.1, self.look)

    def received(self, payload):
        fragment = decode_payload(payload)
        assert isinstance(fragment, Fragment)
        self.act(self.rounds.fragment(fragment, self.net.now))

    def update(self, number):
        """What this peer learns in a round: its own, and the same whatever it starts from."""
        return np.random.default_rng([self.index, number]).normal(size=PARAMETERS).astype(np.float32)

    def act(self, actions):
        for action in actions:
            match action:
                case StartTraining(round=number):
                    self.net.at(self.net.now, lambda number=number: self.trained(number))
                case SendFragments(round=number, fragments=fragments):
                    self.broadcast(number, fragments)
                case RoundClosed(result=result, vector=vector):
                    self.models.append(vector.copy())
                    self.peer.take(self.peer.mixnet.delivery.cancel(lambda _, tag, n=result.round: tag < n))
                case Evaluate():
                    self.net.at(self.net.now, lambda: self.act(self.rounds.evaluated(0.5, 10, self.net.now)))
                case Finished():
                    self.finished = True
                case Dropped(reason=reason):
                    self.dropped.append(reason)

    def trained(self, number):
        if self.peer.up:
            self.act(self.rounds.trained(self.update(number), 0.1, 0.9, 10, self.net.now))

    def broadcast(self, number, fragments):
        payloads = [encode_fragment(self.spec.wire_id, number, index, values) for index, values in fragments]
        letters = [(to, payload) for to in self.peer.view.alive() for payload in payloads]
        self.net.rng.shuffle(letters)
        for to, payload in letters:
            assert self.peer.mixnet.delivery.send(to, payload, number) is None
        self.net.wake(self.peer)


def learn(net, peers, rounds):
    return [Learner(net, index, rounds) for index in range(peers)]


def mean(learners, number):
    return np.mean([learner.update(number).astype(np.float64) for learner in learners], axis=0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("loss", [0.0, 0.03])
@pytest.mark.parametrize("direct", [False, True])
def test_all_rounds_complete_and_all_models_are_the_same(network, seed, loss, direct):
    mixing = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3, direct=direct)
    net = network(6, seed=seed, mixing=mixing, loss=loss, epochs=Epochs(10.0, 5.0), skew_seconds=0.5)
    learners = learn(net, 6, rounds=4)
    net.run(900.0, until=lambda: all(learner.finished for learner in learners))
    for learner in learners:
        assert learner.finished
        results = learner.rounds.status.results
        assert [result.closed_by for result in results] == ["complete"] * 4
        assert all(
            r.fragments_received == r.fragments_expected == 5 * learner.layout.fragments for r in results
        )
        assert len(learner.models) == 4
        for number, model in enumerate(learner.models, 1):
            np.testing.assert_array_equal(model, learners[0].models[number - 1])  # to the last bit
            np.testing.assert_allclose(model, mean(learners, number), atol=1e-6)
        assert learner.dropped == []
        # An answer may still be on its way when the round after the next begins: then it is not waited for.
        assert all(lost.reason is DropReason.CANCELLED for lost in learner.peer.gave_up)
    if not loss:
        assert sum(learner.peer.resent for learner in learners) <= 5


@pytest.mark.parametrize("seed", range(3))
def test_a_death_in_the_middle_is_not_waited_for(network, seed):
    net = network(6, seed=10 + seed, mixing=COVER, loss=0.01, dead_after=3.0)
    learners = learn(net, 6, rounds=5)
    dead, *living = net.rng.sample(learners, 6)
    net.run(600.0, until=lambda: all(len(learner.models) >= 2 for learner in living))
    net.run(net.rng.random() * 0.3)
    net.kill(dead.index)
    net.run(900.0, until=lambda: all(learner.finished for learner in living))
    for learner in living:
        assert learner.finished
        results = learner.rounds.status.results
        assert [result.round for result in results] == [1, 2, 3, 4, 5]
        assert all(result.closed_by in ("complete", "grace") for result in results)
        assert results[-1].cohort == 5
        assert results[-1].closed_by == "complete"
        np.testing.assert_array_equal(learner.models[-1], living[0].models[-1])
        np.testing.assert_allclose(learner.models[-1], mean(living, 5), atol=1e-6)
        assert all(lost.reason is not DropReason.GAVE_UP for lost in learner.peer.gave_up)
    for number in (1, 2):
        for learner in living:
            np.testing.assert_array_equal(learner.models[number - 1], living[0].models[number - 1])
