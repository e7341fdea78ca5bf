"""A run of all peers in step, without a network between them: what each of them receives.

Rounds, models, encoding and dealing are the daemon's own cores, training is real; in place of the mixnet
fragments reach their recipients at once, all senders' shuffled together. It hides senders perfectly, so that
what is left is content.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from ctl.linking.haul import Caught, Haul, Vector
from ctl.linking.learners import Learners
from peerd.learning import (
    Layout,
    Rounds,
    copies_of_each,
    decode_payload,
    fragment_values,
    make_encoding,
)
from peerd.learning.actions import Action, Evaluate, SendFragments, SendModel, StartTraining
from peerd.learning.dealing import deal
from peerd.learning.fragment import Fragment, Parcel
from peerd.types import DropReason, RunSpec

SHADOW_PARTS = 4
"""Into so many the task's test samples are divided for shadows, like the peers' own, as often as need be."""
OTHER_BATCHES = 1_000_000
"""Added to a round's number for who trains on a target's data: its batches are others."""


@dataclass(frozen=True, slots=True)
class Played:
    caught: list[Caught]
    """Of each peer."""
    layout: Layout
    accuracy: list[float]
    """On the whole test set, of the peers' aggregated models, their mean; by round."""


@dataclass(slots=True)
class _Peer:
    rounds: Rounds
    haul: Haul
    sender: list[int]
    """Of each fragment of the haul."""
    job: StartTraining | Evaluate | None = None
    outgoing: SendFragments | None = None
    model: list[Parcel] | None = None
    """Slices of the base, where changes are sent."""


class Play:
    """`say` is told how far it is."""

    def __init__(
        self,
        spec: RunSpec,
        peers: int,
        shadows: int,
        payload_bytes: int,
        learners: Learners,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._spec = spec
        self._learners = learners
        self._say = say
        self._rng = random.Random(spec.seed)  # noqa: S311 - an experiment is its seed
        self._encoding = make_encoding(spec, payload_bytes)
        self._now = 0.0
        # The second half learns what the first peer, the curious one, needs of its targets.
        initial = learners.open(spec, peers, [*range(peers), *range(peers)])
        self._shadows = shadows
        for first in range(0, shadows, SHADOW_PARTS):
            other = msgspec.structs.replace(spec, seed=spec.seed + first)
            parts = range(min(SHADOW_PARTS, shadows - first))
            learners.open(other, SHADOW_PARTS, parts, more=True, swapped=True)
        self._layout = self._encoding.layout(len(initial))
        slices = Layout(len(initial), fragment_values(payload_bytes))
        self._peers = [self._peer(initial, slices, peers) for _ in range(peers)]
        self._accuracy: dict[int, list[float]] = {}

    def _peer(self, initial: Vector, slices: Layout, peers: int) -> _Peer:
        rng = random.Random(self._rng.getrandbits(64))  # noqa: S311
        rounds = Rounds(
            self._spec, self._layout, initial, [1] * (peers - 1), self._now, rng,
            encoding=self._encoding, slices=slices,
        )  # fmt: skip
        return _Peer(rounds, Haul(self._layout, peers - 1), [])

    def run(self) -> Played:
        for peer in self._peers:
            self._do(peer, peer.rounds.start(self._now))
        for number in range(1, self._spec.rounds + 1):
            self._train(number)
            self._exchange()
            self._evaluate(number)
        caught = [Caught(peer.haul, np.array(peer.sender, np.int64)) for peer in self._peers]
        means = [float(np.mean(self._accuracy[number])) for number in sorted(self._accuracy)]
        return Played(caught, self._layout, means)

    def _do(self, peer: _Peer, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case StartTraining() | Evaluate():
                    peer.job = action
                case SendFragments():
                    peer.outgoing = action
                case SendModel():
                    peer.model = action.parcels(self._spec.wire_id, action.everyone)

    def _train(self, number: int) -> None:
        self._reference(number)
        for place, peer in enumerate(self._peers):
            self._say(f"round {number} of {self._spec.rounds}, peer {place + 1} trains")
            job, peer.job = peer.job, None
            assert isinstance(job, StartTraining)
            peer.haul.bases[number] = np.zeros_like(job.vector) if self._spec.deltas else job.vector
            update, outcome = self._learners.train(place, number, job.vector)
            done = peer.rounds.trained(update, outcome.loss, outcome.accuracy, outcome.samples, self._now)
            self._do(peer, done)

    def _reference(self, number: int) -> None:
        """What the first peer would have sent, had it each of the others' data."""
        curious = self._peers[0]
        assert isinstance(curious.job, StartTraining)
        start = curious.job.vector
        for target in range(1, len(self._peers)):
            self._say(f"round {number} of {self._spec.rounds}, peer 1 trains on the data of {target + 1}")
            curious.haul.references[number, target] = self._tried(len(self._peers) + target, number, start)
        self._say(f"round {number} of {self._spec.rounds}, peer 1 trains on data that nobody has")
        first = 2 * len(self._peers)
        shadows = [self._tried(first + one, number, start) for one in range(self._shadows)]
        for peer in self._peers:  # each would train them from its own model, which is much the same
            peer.haul.shadows[number] = shadows

    def _tried(self, learner: int, number: int, start: Vector) -> Vector:
        update, _ = self._learners.train(learner, number + OTHER_BATCHES, start)
        return update - start if self._spec.deltas else update

    def _exchange(self) -> None:
        """All to all, as dealt; who still waits then waits in vain, and closes at its deadline."""
        letters: list[tuple[int, int, bytes]] = []
        for sender, peer in enumerate(self._peers):
            letters += self._dealt(sender, peer)
        self._rng.shuffle(letters)
        for sender, recipient, payload in letters:
            self._deliver(sender, self._peers[recipient], payload)
        for peer in self._peers:
            while (due := peer.rounds.next_deadline()) is not None:
                self._now = max(self._now, due)
                self._do(peer, peer.rounds.tick(self._now))

    def _dealt(self, sender: int, peer: _Peer) -> list[tuple[int, int, bytes]]:
        others = [place for place in range(len(self._peers)) if place != sender]
        out, peer.outgoing = peer.outgoing, None
        assert out is not None
        for index in range(self._layout.fragments):
            peer.haul.own[out.round, index] = np.array(out.pieces.values(index))
        letters = []
        for parcels in (out.parcels(self._spec.wire_id), peer.model or []):
            copies = copies_of_each(self._spec, len(others))
            made = {parcel.place: parcel.make() for parcel in parcels}
            for recipient, hand in deal(others, parcels, copies, self._rng):
                letters += [(sender, recipient, made[parcel.place]) for parcel in hand]
        peer.model = None
        return letters

    def _deliver(self, sender: int, peer: _Peer, payload: bytes) -> None:
        fragment = decode_payload(payload)
        assert isinstance(fragment, Fragment)
        if not fragment.of_model:
            where = self._layout.slice(fragment.index)
            values = self._encoding.decode(fragment.data, where.stop - where.start)
            assert not isinstance(values, DropReason)
            peer.haul.places.append((fragment.round, fragment.index))
            peer.haul.values.append(values)
            peer.sender.append(sender)
        self._do(peer, peer.rounds.fragment(fragment, self._now))

    def _evaluate(self, number: int) -> None:
        """Where all peers have one model it is measured once."""
        known: dict[bytes, float] = {}
        for place, peer in enumerate(self._peers):
            job, peer.job = peer.job, None
            assert isinstance(job, Evaluate)
            key = job.vector.tobytes()
            if key not in known:
                self._say(f"round {number} of {self._spec.rounds}, evaluating")
                known[key] = self._learners.evaluate(place, job.vector).accuracy
            self._accuracy.setdefault(number, []).append(known[key])
            self._do(peer, peer.rounds.evaluated(known[key], 1, self._now))
