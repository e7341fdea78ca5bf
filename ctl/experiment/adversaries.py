"""The adversaries. Each turns what it sees into posteriors over the senders of challenged cells.

What they are given: the `Observation`, the public `Setting`, the challenged cells (a recipient knows that
this cell brought it a fragment) and, of nodes that are their own, a `CorruptView`. Never the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ctl.experiment.kernels import DelayKernel, Timing, make_kernel
from ctl.experiment.matching import ExactMatch, Match, match
from ctl.experiment.observation import NOWHERE, CorruptView, Floats, Ints, Observation
from ctl.experiment.tracing import AT_A_TIME, Network, Node
from peerd.config import MixingConfig

FLOOR = 1e-3
"""A posterior is mixed with so much of the uniform distribution: no sender is ever ruled out for good by a
model that is only nearly right, which matters when posteriors are multiplied."""

MOST_OWN = 0.98
"""There may always be something to forward, also without mix nodes."""
LEARNING = 4
"""Times that a node's delays, where they are a mixture of unknown shares, are estimated."""


@dataclass(frozen=True)
class Setting:
    """What everybody knows (Kerckhoffs): the parameters, and how exact the clock is."""

    mixing: MixingConfig
    timing: Timing = field(default_factory=Timing)
    messages: int = 0
    """Messages that all peers send in what is watched: the protocol says so, the recipient counts."""

    @property
    def hops(self) -> int:
        return self.mixing.path_hops


def own_share(setting: Setting, cells: int) -> float:
    """Prior share of cells that originate where they leave: a packet crosses hops + 1 links, and a dummy of
    a constant-rate strategy, of which there are as many as the messages leave room for, crosses one."""
    links = setting.hops + 1
    if setting.mixing.strategy != "outbox" or not setting.messages:
        return min(1.0 / links, MOST_OWN)
    real = min(2.0 * links * setting.messages / max(cells, 1), 1.0)  # message and acknowledgement
    return min(real / links + (1.0 - real), MOST_OWN)


def normalised(likelihood: Floats, candidates: Floats) -> Floats:
    """Posteriors (n, peers) of a likelihood and a prior (n, peers) that is 1 for each possible sender."""
    weights = likelihood * candidates
    uniform = candidates / candidates.sum(axis=1, keepdims=True)
    total = weights.sum(axis=1, keepdims=True)
    posterior = np.where(total > 0.0, weights / np.where(total > 0.0, total, 1.0), uniform)
    mixed: Floats = (1.0 - FLOOR) * posterior + FLOOR * uniform
    return mixed


def candidates(seen: Observation, last: Ints, view: CorruptView | None = None) -> Floats:
    """(n, peers): 1 for who may have sent: neither the recipient nor the adversary itself."""
    possible = np.ones((len(last), seen.peers))
    possible[np.arange(len(last)), seen.dst[last]] = 0.0
    if view is not None:
        possible[:, view.corrupt] = 0.0
    return possible


class Tracing:
    """Bayesian tracing through all mix nodes: global and passive; with a `view`, owner of some nodes."""

    def __init__(self, seen: Observation, setting: Setting, view: CorruptView | None = None) -> None:
        self._seen = seen
        self._setting = setting
        self._view = view
        share = own_share(setting, seen.cells)
        self._network = Network(seen, {node: self._node(node, share) for node in range(seen.peers)})

    @property
    def network(self) -> Network:
        return self._network

    def backward(self, last: Ints) -> Floats:
        """Posteriors (n, peers) from the way of the message itself."""
        return normalised(self._network.senders(last, self._setting.hops), self._candidates(last))

    def both_ways(self, last: Ints, answer: Ints) -> Floats:
        """The same, and from the way of the acknowledgement: on to where it ends. `answer` (n,): the cell
        that the recipient sent it as, NOWHERE where he does not tell."""
        found = np.zeros((len(last), self._seen.peers))
        for start in range(0, len(last), AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            first = self._network.answers(last[part])
            told = np.flatnonzero(answer[part] != NOWHERE)
            via = np.where(answer[part] == NOWHERE, NOWHERE, self._seen.dst[answer[part]])
            if len(told):
                first.weights[told] = 0.0
                first.weights[told, answer[part][told]] = 1.0
                first.span = slice(0, self._seen.cells)
            recipients = self._seen.dst[last[part]]
            found[part] = self._network.recipients(first, recipients, via, self._setting.hops)
        possible = self._candidates(last)
        return normalised(self.backward(last) * normalised(found, possible), possible)

    def _candidates(self, last: Ints) -> Floats:
        return candidates(self._seen, last, self._view)

    def _node(self, node: int, share: float) -> Node:
        leaving, entering = self._seen.leaving(node), self._seen.entering(node)
        return Node(leaving, entering, self._match(node, leaving, entering, share))

    def _match(self, node: int, leaving: Ints, entering: Ints, share: float) -> Match:
        if self._view is not None and self._view.corrupt[node]:
            place = np.full(self._seen.cells + 1, NOWHERE)
            place[entering] = np.arange(len(entering))
            return ExactMatch.of(place[self._view.parent[leaving]], len(entering))
        out_at, in_at = self._seen.sent_at[leaving], self._seen.arrived_at[entering]
        turns = self._setting.hops < 2  # only a loop by one mix node comes back to where it was
        ends = None if turns else (self._seen.dst[leaving], self._seen.src[entering])
        mixing, timing = self._setting.mixing, self._setting.timing
        cover = mixing.loop_rate_per_second
        if not mixing.send_rate_per_second:  # else drops take the place of messages, and look like them
            cover += mixing.drop_rate_per_second
        shares: tuple[float, ...] = ()
        for left in reversed(range(LEARNING)):
            kernel = make_kernel(mixing, timing, out_at, in_at, self._seen.ends_at, shares)
            found = match(kernel, out_at, ends, share, cover)
            if not (
                left and mixing.strategy == "none" and isinstance(kernel, DelayKernel) and kernel.parts > 1
            ):
                break
            shares = found.shares(kernel)
        return found
