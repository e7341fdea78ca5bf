"""Slices of the model that a round starts from: what makes deltas of use to who does not have it.

The base of a round is the last aggregate. Peers that received the same fragments have the same one, to the
bit; a newcomer has none, nor one that jumped over rounds, and where a fragment was lost one is a little off.
So peers that contribute send slices of their base, as float32, in three cases:

    newcomer   to each peer that only listens, when it appears and at the start of every round: every slice
               with the chance that makes `NEWCOMER_COPIES` of it among all who send, so that the work is
               split, and the median of a few strangers is taken, not the word of one. Of one slice in twenty
               none comes (e^-3); a listener that lacks any listens for another round
    latecomer  to who only listens when the run is over: slices of its last model, so many of each that only
               once in a hundred times one does not come, since there is no other round to listen for
    drift      to everybody, a slice or some each round, the same by everybody, in turn, so that all come by
               in `PERIOD` rounds; about `DRIFT_COPIES` peers of the cohort send them. Who receives it takes
               the median with its own: errors that each peer has for itself do not grow without limit

A member can send false slices, as it can send false updates; the median stands against less than half of what
comes for a slice, its own included.
"""

from __future__ import annotations

import math
import random

import numpy as np

from peerd.layout import Layout
from peerd.learning.encoding import Float32
from peerd.learning.fragment import Vector
from peerd.types import DropReason

NEWCOMER_COPIES = 3
MISSING = 0.01
"""Chance that a latecomer lacks any slice, if nothing gets lost."""
DRIFT_COPIES = 2
PERIOD = 25
"""Rounds, or as many as there are slices, if that is less. For mnist-cnn among six peers it adds 4 packets
for each recipient and round to the 15 of top-k or the 65 of int8. In a simulation of six peers that lose 5 %
of all fragments for good, models stay within 0.4 of an update's length of their mean with int8, 0.7 with
top-k and 1.0 with random-mask, over 100 rounds; with no correction the distance goes on growing (0.68, 0.88
and 1.17)."""
KEPT_COPIES = 5
"""Of a slice in a round; five models of memory at most, on a newcomer, and next to nothing on others."""


class Slices:
    """What has come of one round's base."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._encoding = Float32(0)
        self._copies: dict[int, list[Vector]] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._copies

    @property
    def whole(self) -> bool:
        """Whether all have come."""
        return len(self._copies) == self._layout.fragments

    def add(self, index: int, data: bytes) -> DropReason | None:
        """Keep a stranger's slice, or say why not."""
        if not 0 <= index < self._layout.fragments:
            return DropReason.BAD_FRAGMENT
        where = self._layout.slice(index)
        values = self._encoding.decode(data, where.stop - where.start)
        if isinstance(values, DropReason):
            return values
        if not np.isfinite(values).all():
            return DropReason.NOT_FINITE
        copies = self._copies.setdefault(index, [])
        if len(copies) >= KEPT_COPIES:
            return DropReason.OVER_COUNT
        copies.append(values)
        return None

    def settled(self, index: int, own: Vector, *, known: bool) -> Vector:
        """What the slice is, as far as one can tell. known: whether `own` is worth counting."""
        copies = self._copies.get(index, [])
        if not copies:
            return own
        rows = np.array([*copies, own] if known else copies, np.float64)
        return np.median(rows, axis=0).astype(np.float32)


def for_newcomers(layout: Layout, senders: int, rng: random.Random) -> tuple[int, ...]:
    """The slices that one of so many sends to who needs all of them, in random order."""
    return _chosen(layout, NEWCOMER_COPIES / senders, rng)


def for_latecomers(layout: Layout, senders: int, rng: random.Random) -> tuple[int, ...]:
    """The same, with enough copies of each that they will do: fragments * e^-copies is the chance that they
    will not."""
    return _chosen(layout, math.log(layout.fragments / MISSING) / senders, rng)


def _chosen(layout: Layout, chance: float, rng: random.Random) -> tuple[int, ...]:
    chosen = [index for index in range(layout.fragments) if rng.random() < chance]
    rng.shuffle(chosen)
    return tuple(chosen)


def against_drift(layout: Layout, round: int, senders: int, rng: random.Random) -> tuple[int, ...]:
    """The slices that one of so many sends to all in this round, mostly none."""
    if rng.random() >= DRIFT_COPIES / senders:
        return ()
    count = -(-layout.fragments // PERIOD)
    return tuple({(round * count + number) % layout.fragments for number in range(count)})
