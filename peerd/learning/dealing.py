"""Who gets which fragments of an update, where not everybody gets all. Sans-IO.

    random-k   every fragment goes to k peers: what a peer sends does not grow with the network (epidemic
               learning: de Vos et al., NeurIPS 2023; by fragments: Biswas et al., Shatter, 2024)
    share      every peer gets that part of every update, so that none can collect a whole one

Both are a number of copies. They are dealt like cards: the fragments in a random order, the peers in a
random order, both drawn anew each round by each sender. So a peer's part is a uniformly random one, of a size
that is known to within one fragment: the others can tell when all that they may expect has come, without a
number in any fragment that says so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from peerd.learning.fragment import Parcel
from peerd.types import PeerId, RunSpec

Peer = TypeVar("Peer")
Item = TypeVar("Item")


def copies_of_each(spec: RunSpec, others: int) -> int:
    """To how many of so many other peers each fragment goes; `others` of them: to all."""
    copies = min(spec.fanout, others) if spec.dissemination == "random-k" else others
    return min(copies, math.ceil(spec.share * others))


def least_part(fragments: int, others: int, copies: int) -> int:
    """How many of so many fragments each of the other peers gets at least; it may be one more."""
    return fragments if copies >= others else fragments * copies // others


def expected_parts(fragments: int, others: int, copies: int, senders: int) -> int:
    """How many fragments of so many senders to wait for. Who gets one more is drawn by each sender, so
    their number is binomial: two standard deviations below its mean, which 39 of 40 times there are."""
    least = least_part(fragments, others, copies)
    more = fragments * copies / others - least if 0 < copies < others else 0.0
    sure = senders * more - 2.0 * math.sqrt(senders * more * (1.0 - more))
    return max(senders * least + max(math.floor(sure), 0), min(senders, 1))


def most_parts(fragments: int, others: int, copies: int, senders: int) -> int:
    """How many fragments of so many senders there can be."""
    least = least_part(fragments, others, copies)
    return senders * (least + (least * others < fragments * copies < fragments * others))


def deal(
    peers: Sequence[Peer], items: Sequence[Item], copies: int, rng: random.Random
) -> list[tuple[Peer, list[Item]]]:
    """Every item to `copies` different peers, drawn at random; each peer gets the same number, or one more.
    All items to all, where there are no more peers than copies."""
    if copies >= len(peers):
        return [(peer, list(items)) for peer in peers]
    hands: list[tuple[Peer, list[Item]]] = [(peer, []) for peer in peers]
    rng.shuffle(hands)
    turn = 0
    for item in rng.sample(items, len(items)):
        for _ in range(copies):
            hands[turn][1].append(item)
            turn = (turn + 1) % len(hands)
    return hands


class Dealer:
    """Deals the fragments of an update in the order in which they become final, as `deal` would all at once:
    who gets which is drawn with the first ones, or when a peer appears, and once for a round. One run's."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._round = 0
        self._drawn: dict[int, list[PeerId]] = {}

    def deal(
        self, round: int, peers: Sequence[PeerId], parcels: Sequence[Parcel], of: int, copies: int
    ) -> list[tuple[PeerId, list[Parcel]]]:
        """`parcels` are some of that round's, which has so many."""
        if copies >= len(peers):
            return [(peer, list(parcels)) for peer in peers]
        if round != self._round:
            self._round, self._drawn = round, {index: [] for index in range(of)}
            for peer, indices in deal(peers, range(of), copies, self._rng):
                for index in indices:
                    self._drawn[index].append(peer)
        hands: dict[PeerId, list[Parcel]] = {}
        for parcel in parcels:
            for peer in self._drawn[parcel.index]:
                hands.setdefault(peer, []).append(parcel)
        return list(hands.items())

    def deal_in(self, round: int, peer: PeerId, parcels: Sequence[Parcel], part: int) -> list[Parcel]:
        """For a peer that has appeared, of the round's parcels that were dealt already: its hand, of so many
        in all. The same hand, however often it appears: else it would collect them all."""
        if round != self._round:
            return list(parcels)  # everybody has got all
        if not any(peer in peers for peers in self._drawn.values()):
            for index in self._rng.sample(sorted(self._drawn), min(part, len(self._drawn))):
                self._drawn[index].append(peer)
        return [parcel for parcel in parcels if peer in self._drawn[parcel.index]]
