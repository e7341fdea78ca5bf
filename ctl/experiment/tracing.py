"""Following a cell through the network: back to who sent it, or on to where it ended.

The weight that lies on a cell is passed on to what its mix node may have made it from, as often as paths
have mix nodes; at the last cell it counts as far as that cell is a message that originated at its src. This
is Bayes' rule for a chain of independent mix nodes, given that the path has exactly this length (after
Troncoso and Danezis, "The Bayesian traffic analysis of mix networks", 2009, who sample the same posterior).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ctl.experiment.matching import Look, Match, Weights
from ctl.experiment.observation import Floats, Ints, Observation

AT_A_TIME = 64
"""Packets that are followed together."""


@dataclass(frozen=True)
class Node:
    """One mix node's cells, by time, and how they belong together."""

    leaving: Ints
    entering: Ints
    match: Match


@dataclass
class Followed:
    """Weights (n, cells) on the cells where n packets may be; nothing lies outside `span`."""

    weights: Weights
    span: slice

    @classmethod
    def on(cls, cells: Ints, of: int) -> Followed:
        """Each packet on one known cell."""
        weights = np.zeros((len(cells), of), dtype=np.float32)
        weights[np.arange(len(cells)), cells] = 1.0
        return cls(weights, slice(int(cells.min()), int(cells.max()) + 1))

    @property
    def inside(self) -> Weights:
        return self.weights[:, self.span]


class Network:
    """All mix nodes as the adversary sees them."""

    def __init__(self, observation: Observation, nodes: Mapping[int, Node]) -> None:
        self._seen = observation
        self._nodes = nodes
        self._originated, self._message, self._ended = np.zeros((3, observation.cells), dtype=np.float32)
        for node in nodes.values():
            self._originated[node.leaving] = node.match.originated
            self._message[node.leaving] = node.match.message
            self._ended[node.entering] = node.match.ended

    def senders(self, last: Ints, hops: int) -> Floats:
        """(n, peers): likelihood of each sender for the messages that ended with the cells `last` (n,)."""
        result = np.zeros((len(last), self._seen.peers))
        for start in range(0, len(last), AT_A_TIME):
            part = last[start : start + AT_A_TIME]
            packets = Followed.on(part, self._seen.cells)
            for _ in range(hops):
                packets = self._step(packets, forward=False)
                for peers in (self._seen.dst[part], self._seen.src[part]):  # recipient, last mix node
                    self._forbid(packets, self._seen.src, peers)
            result[start : start + AT_A_TIME] = self._by_peer(packets, self._message, self._seen.src)
        return result

    def recipients(self, first: Followed, src: Ints, via: Ints, hops: int) -> Floats:
        """(n, peers): likelihood of each recipient for packets that `src` (n,) sent as the cells `first`;
        `via` (n,) is their first mix node, which is passed once, where it is known, else NOWHERE."""
        packets = first
        for _ in range(hops):
            packets = self._step(packets, forward=True)
            for peers in (src, via):
                self._forbid(packets, self._seen.dst, peers)
        return self._by_peer(packets, self._ended, self._seen.dst)

    def answers(self, last: Ints) -> Followed:
        """Where the acknowledgements may be of messages that ended with the cells `last`: what their
        recipients, as a mix, would have made of these cells had they gone on, as far as it began there."""
        packets = self._step(Followed.on(last, self._seen.cells), forward=True)
        packets.weights *= self._originated
        return packets

    def _step(self, packets: Followed, forward: bool) -> Followed:
        weights, span = packets.weights, packets.span
        touched = np.zeros(self._seen.cells, dtype=bool)
        touched[span] = packets.inside.any(axis=0)
        result = np.zeros_like(weights)
        reached = np.zeros(self._seen.cells, dtype=bool)
        for node in self._nodes.values():
            source, target = (node.entering, node.leaving) if forward else (node.leaving, node.entering)
            if touched[source].any():
                step = node.match.forth if forward else node.match.back
                for columns, part in step(_looking(weights, source), touched[source]):
                    result[:, target[columns]] += part
                    reached[target[columns]] = True
        where = np.flatnonzero(reached)
        return Followed(result, slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0))

    def _forbid(self, packets: Followed, column: Ints, peers: Ints) -> None:
        """No packet is on a cell of its own forbidden peer; then every row is scaled to a sum of 1: only
        ratios matter, and small numbers would vanish."""
        inside = packets.inside
        inside[column[None, packets.span] == peers[:, None]] = 0.0
        total = inside.sum(axis=1, keepdims=True)
        inside /= np.where(total > 0.0, total, 1.0)

    def _by_peer(self, packets: Followed, factor: Weights, column: Ints) -> Floats:
        weights, peer = packets.inside * factor[packets.span], column[packets.span]
        belongs = (peer[:, None] == np.arange(self._seen.peers)).astype(np.float32)
        sums: Floats = (weights @ belongs).astype(float)
        return sums


def _looking(weights: Weights, cells: Ints) -> Look:
    return lambda some: weights[:, cells[some]]
