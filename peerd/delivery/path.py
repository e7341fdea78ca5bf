"""Path selection: which mix nodes a packet passes, drawn anew for every packet.

A path has a fixed length: `hops` distinct mix nodes, never the sender and never the recipient, then
the recipient. The way back of the SURB is drawn independently of the way there.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Protocol

from peerd.mix import draw_exponential
from peerd.sphinx import Hop
from peerd.types import PeerId


class Directory(Protocol):
    """What delivery needs to know of the view."""

    def alive(self) -> Collection[PeerId]:
        """The other peers that can be reached now, oneself excluded."""

    def enrolled(self, peer: PeerId) -> bool:
        """Whether it is another peer of this network, alive or not."""

    def mix_key(self, peer: PeerId) -> bytes | None:
        """The 32-byte public mix key of a peer (oneself included) for the present epoch; None where it
        is not known."""


def mix_nodes(path: Sequence[Hop]) -> frozenset[PeerId]:
    """All of a path but its end."""
    return frozenset(hop.peer for hop in path[:-1])


def known_delay(path: Sequence[Hop]) -> float:
    """Seconds that the sender has asked the mix nodes for, together."""
    return sum(hop.delay for hop in path)


class PathSelector:
    """Draws paths from the peers that are alive.

    `rng` must be a CSPRNG in production (`random.SystemRandom`): a path that can be predicted is
    no path.
    """

    def __init__(self, directory: Directory, rng: random.Random) -> None:
        self._directory = directory
        self._rng = rng

    def draw(self, sender: PeerId, recipient: PeerId, hops: int, mean_delay: float) -> list[Hop] | None:
        """`hops` mix nodes and the recipient, with every node's delay drawn (seconds, mean as given).

        One of the two ends must be oneself: the directory names only the others as alive.
        None when fewer than `hops` suitable mix nodes are alive: a shorter path is never taken.
        A loop to oneself (`sender == recipient`) passes `hops` others too.
        """
        candidates = [p for p in self._directory.alive() if p not in (sender, recipient)]
        if len(candidates) < hops:
            return None
        nodes = self._rng.sample(candidates, hops)
        path = [self._hop(node, draw_exponential(self._rng, mean_delay)) for node in nodes]
        path.append(self._hop(recipient, 0.0))
        if any(hop is None for hop in path):
            return None
        return [hop for hop in path if hop is not None]

    def _hop(self, peer: PeerId, delay: float) -> Hop | None:
        key = self._directory.mix_key(peer)
        return None if key is None else Hop(peer, key, delay)
