"""A cohort of peers in one process: the product's `Rounds`, encodings and aggregators, and a mixnet that
brings every fragment to everybody at once. What leaves a peer may be changed on the way.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from peerd.learning import Fragment, Layout, Rounds, decode_payload, fragment_values, make_encoding
from peerd.learning.actions import (
    Action,
    Dropped,
    Evaluate,
    Finished,
    RoundClosed,
    SendFragments,
    SendModel,
    StartTraining,
)
from peerd.learning.fragment import Vector
from peerd.types import RunSpec

PAYLOAD = 7894
"""Bytes, of a network with the default geometry."""

Train = Callable[[int, int, Vector], Vector]
"""From peer, round and model to the trained model."""
Forge = Callable[[int, Fragment], list[Fragment]]
"""What a peer sends in the place of one of its fragments."""


def honest(peer: int, fragment: Fragment) -> list[Fragment]:
    return [fragment]


@dataclass(slots=True)
class Cohort:
    """`play` it once. Peers are numbered from 0, all of them contribute from the first round."""

    spec: RunSpec
    peers: int
    initial: Vector
    train: Train
    forge: Forge = honest
    payload: int = PAYLOAD
    exact: int = 0
    closed: list[list[str]] = field(default_factory=list)
    """Of each peer: what closed its rounds."""
    models: list[list[Vector]] = field(default_factory=list)
    """Of each peer: its model after each round."""
    dropped: list[Counter[str]] = field(default_factory=list)
    """Of each peer: fragments that it refused."""
    messages: int = 0
    """To one peer each."""

    def play(self) -> None:
        encoding = make_encoding(self.spec, self.payload)
        layout = encoding.layout(len(self.initial), self.exact)
        slices = Layout(len(self.initial), fragment_values(self.payload))
        rounds = [
            Rounds(
                self.spec, layout, self.initial, [1] * (self.peers - 1), 0.0, random.Random(number),
                encoding=encoding, slices=slices,
            )
            for number in range(self.peers)
        ]  # fmt: skip
        self.closed, self.models, self.dropped = (
            [[] for _ in rounds],
            [[] for _ in rounds],
            [Counter() for _ in rounds],
        )
        now, ended = 0.0, set[int]()
        todo = deque((peer, action) for peer, one in enumerate(rounds) for action in one.start(now))
        while len(ended) < self.peers:
            while todo:
                peer, action = todo.popleft()
                todo.extend(self._do(peer, action, rounds, now, ended))
            now += self.spec.grace_seconds + 1.0
            todo.extend((peer, action) for peer, one in enumerate(rounds) for action in one.tick(now))

    def _do(
        self, peer: int, action: Action, rounds: Sequence[Rounds], now: float, ended: set[int]
    ) -> list[tuple[int, Action]]:
        follows: list[Action] = []
        match action:
            case StartTraining(round=number, vector=vector):
                follows = rounds[peer].trained(self.train(peer, number, vector), 0.0, 0.0, 1, now)
            case Evaluate():
                follows = rounds[peer].evaluated(0.0, 1, now)
            case RoundClosed(result=result, vector=vector):
                self.closed[peer].append(result.closed_by)
                self.models[peer].append(np.array(vector))
            case SendFragments():
                return self._deliver(peer, action.parcels(self.spec.wire_id), rounds, now)
            case SendModel(everyone=everyone):
                return self._deliver(peer, action.parcels(self.spec.wire_id, everyone), rounds, now)
            case Dropped(reason=reason, count=count):
                self.dropped[peer][reason.value] += count
            case Finished():
                ended.add(peer)
        return [(peer, one) for one in follows]

    def _deliver(
        self, sender: int, parcels: Sequence[object], rounds: Sequence[Rounds], now: float
    ) -> list[tuple[int, Action]]:
        caused: list[tuple[int, Action]] = []
        for parcel in parcels:
            fragment = decode_payload(parcel.make())  # type: ignore[attr-defined]
            assert isinstance(fragment, Fragment)
            for forged in self.forge(sender, fragment):
                for peer, one in enumerate(rounds):
                    if peer != sender:
                        self.messages += 1
                        caused.extend((peer, action) for action in one.fragment(forged, now))
        return caused
