"""`Rounds` of every peer over the simulated mixnet (`World`), with a stand-in for the node and the trainer.

What a peer learns depends on the model that it starts from, so that who has another model shows.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from peerd.config import MixingConfig
from peerd.learning import (
    Fragment,
    Layout,
    Rounds,
    copies_of_each,
    decode_payload,
    fragment_place,
    fragment_values,
)
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
from peerd.learning.dealing import deal
from peerd.learning.fragment import encode_fragment
from peerd.types import DropReason, RunSpec

PARAMETERS = 300
RUN = "00000000000000070000000000000000"
COVER = MixingConfig(hops=2, loop_rate_per_second=0.3, drop_rate_per_second=0.3)
"""A message goes through six cells there and back, not eight, and nothing here is about paths."""
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
        parts = [(index, values) for index, values in own.fragments]
        copies = copies_of_each(self.spec, len(learners))
        letters = [
            (learner.peer.peer_id, encode_fragment(self.spec.wire_id, own.round, index, values))
            for learner, hand in deal(learners, parts, copies, self.net.rng)
            for index, values in hand
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
