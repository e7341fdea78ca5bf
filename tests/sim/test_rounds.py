"""Federated averaging over the simulated mixnet: `Rounds` of every peer, with a stand-in for the trainer.

What a peer learns depends on the model that it starts from, so that who has another model shows.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from peerd.config import MixingConfig
from peerd.learning import Fragment, Layout, Rounds, decode_payload, fragment_place, fragment_values
from peerd.learning.actions import (
    Contribute,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    Skipped,
    StartTraining,
)
from peerd.learning.fragment import encode_fragment
from peerd.sphinx import Epochs
from peerd.types import DropReason, RunSpec

PARAMETERS = 300
RUN = "00000000000000070000000000000000"
COVER = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3)
DIRECT = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0, direct=True)
"""Halves of two peers have no mix nodes between them."""
GOSSIP_SECONDS = 0.3
"""Until the others know what a peer has announced."""
LOOK_SECONDS = 0.1


class Learner:
    """What the node and the run do for `Rounds`, on the world's clock. `course`: all of them, by number."""

    def __init__(self, net, course, index, spec, seconds=0.0, start_round=1, initial=None, listening=False):
        self.net = net
        self.course = course
        self.index = index
        self.peer = net[index]
        self.spec = spec
        self.seconds = seconds
        self.layout = Layout(PARAMETERS, fragment_values(self.peer.mixnet.delivery.payload_bytes))
        self.models: dict[int, np.ndarray] = {}
        self.updates: dict[int, np.ndarray] = {}
        self.finished = False
        self.dropped: Counter[DropReason] = Counter()
        self.jumps: list[tuple[int, int]] = []
        self.told: list[tuple[float, int]] = [(net.now, 0 if listening else start_round)]
        self.together: set[int] = set()
        course[index] = self
        model = np.zeros(PARAMETERS, np.float32) if initial is None else initial
        self.rounds = Rounds(
            spec, self.layout, model, self.others(), net.now, net.rng,
            start_round=start_round, listening=listening, members=len(net.ids) - 1,
        )  # fmt: skip
        self.peer.on_received = self.received
        net.at(net.now, self.begin)

    @property
    def gone(self):
        return not self.peer.up or self.course[self.index] is not self

    @property
    def results(self):
        return self.rounds.status.results

    def begin(self):
        self.look()
        self.act(self.rounds.start(self.net.now))

    def look(self):
        """As the node does at each change of the view, and at each of the rounds' deadlines."""
        if self.gone:
            return
        self.act(self.rounds.set_cohort(self.others(), self.net.now))
        together = {id(learner) for learner in self.seen()}
        appeared, self.together = together - self.together, together
        own = self.rounds.own_fragments() if appeared else None
        if own is not None:
            self.post(own, [learner for learner in self.seen() if id(learner) in appeared])
        deadline = self.rounds.next_deadline()
        if deadline is not None and deadline <= self.net.now:
            self.act(self.rounds.tick(self.net.now))
        self.net.at(self.net.now + LOOK_SECONDS, self.look)

    def seen(self):
        """The others that take part, as far as this peer knows."""
        alive = {self.net.peers[peer].index for peer in self.peer.view.alive()}
        known = self.net.now - GOSSIP_SECONDS
        return [
            learner
            for learner in self.course.values()
            if learner.index in alive and (learner.told[0][0] <= known or not learner.told[0][0])
        ]

    def others(self):
        known = self.net.now - GOSSIP_SECONDS
        return [[n for when, n in other.told if when <= known or not when][-1] for other in self.seen()]

    def received(self, payload):
        fragment = decode_payload(payload)
        assert isinstance(fragment, Fragment)
        self.act(self.rounds.fragment(fragment, self.net.now))

    def learn(self, number, vector):
        own = np.random.default_rng([self.index, number]).normal(size=PARAMETERS)
        return (0.5 * vector + own).astype(np.float32)

    def act(self, actions):
        for action in actions:
            match action:
                case StartTraining(round=number, vector=vector):
                    self.updates[number] = self.learn(number, vector)
                    self.net.at(self.net.now + self.seconds, lambda number=number: self.trained(number))
                case SendFragments():
                    self.post(action, self.seen())
                case Contribute(from_round=number):
                    self.told.append((self.net.now, number))
                case Skipped(round=number, to=there):
                    self.jumps.append((number, there))
                    self.forget_before(there)
                case RoundClosed(result=result, vector=vector):
                    self.models[result.round] = vector.copy()
                    self.forget_before(result.round)
                case Evaluate():
                    self.net.at(self.net.now, self.evaluated)
                case Finished():
                    self.finished = True
                case Dropped(reason=reason, count=count):
                    self.dropped[reason] += count

    def forget_before(self, number):
        oldest = number - (self.spec.stale_rounds if self.spec.stale == "use" else 0)
        self.peer.take(self.peer.mixnet.delivery.cancel(lambda _, tag: tag < oldest))

    def trained(self, number):
        if not self.gone:
            self.act(self.rounds.trained(self.updates[number], 0.1, 0.9, 10, self.net.now))

    def evaluated(self):
        if not self.gone:
            self.act(self.rounds.evaluated(0.5, 10, self.net.now))

    def post(self, own, learners):
        letters = [
            (learner.peer.peer_id, encode_fragment(self.spec.wire_id, own.round, index, values))
            for learner in learners
            for index, values in own.fragments
        ]
        self.net.rng.shuffle(letters)
        for to, payload in letters:
            once = hashlib.blake2b(fragment_place(payload) + to, key=b"%d" % self.index, digest_size=16)
            delivery = self.peer.mixnet.delivery
            assert delivery.send(to, payload, own.round, once.digest()) is None
        self.net.wake(self.peer)


def make_spec(rounds, **changes):
    return RunSpec(run_id=RUN, task="digits-cnn", rounds=rounds, **{"grace_seconds": 40.0, **changes})


def enrol(net, peers, rounds, seconds=0.0, **spec):
    course: dict[int, Learner] = {}
    for index in range(peers):
        Learner(net, course, index, make_spec(rounds, **spec), seconds)
    return course


def crash(net, learner):
    """`kill -9`: what is left is the last checkpoint."""
    net.kill(learner.index)
    return max(learner.models.items(), default=(0, None), key=lambda saved: saved[0])


def come_back(net, course, old, checkpoint):
    number, model = checkpoint
    net.restart(old.index)
    return Learner(
        net, course, old.index, old.spec, old.seconds, start_round=number + 1, initial=model, listening=True
    )


def until_all_finish(net, learners, seconds=3600.0):
    learners = list(learners)
    net.run(seconds, until=lambda: all(learner.finished for learner in learners))
    for learner in learners:
        assert learner.finished, learner.rounds.status


def mean(learners, number):
    return np.mean([learner.updates[number].astype(np.float64) for learner in learners], axis=0)


def assert_same_model(learners, number):
    models = {learner.models[number].tobytes() for learner in learners}
    assert len(models) == 1


def numbers(learner):
    return [result.round for result in learner.results]


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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("seconds", [0.0, 1.0, 5.0])
def test_a_late_joiner_listens_for_a_round_and_contributes_from_the_next(network, seed, seconds):
    """In time, if the others train for longer than it takes to tell them; else when they hear of it."""
    net = network(7, seed=20 + seed, mixing=COVER, loss=0.01)
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


@pytest.mark.parametrize("seed", range(2))
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


@pytest.mark.parametrize("behind", [1, 3, 4, 5, 6])
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
