"""Putting a sender's fragments together from links, as far as they reach.

First fragments of one index are chained from round to round into tracks, the best pairs first (largest cosine
of a fragment's residual with the mean of a track's), each round at most one to a track. A fragment that is
like none (cosine not above 0) begins a track, until there are as many as senders. Then, from each track in
turn, the attacker adds for every other index the track whose mean features are nearest to the mean of those
that he has, nearest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctl.linking.features import Floats, Look
from ctl.linking.haul import Caught, Haul, Ints

Track = list[int]
"""Numbers of fragments of one index, one for each of some rounds."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Parts of one update: of all its fragments, those that are together and really of the sender of the
    fragment that was begun with. One for each track and each round of it."""

    updates: list[float]
    portraits: list[float]
    """The same, of whatever round: indices of a sender's model that are together. One for each track."""


def tracks(haul: Haul, seen: Look) -> list[list[Track]]:
    """By index."""
    found: list[list[Track]] = [[] for _ in range(haul.layout.fragments)]
    for place, numbers in seen.groups.items():  # in the order of rounds
        known = found[place[1]]
        rows = np.array([seen.residuals[number] for number in numbers], np.float64)
        ends = [np.mean([seen.residuals[number] for number in track], axis=0) for track in known]
        left = set(range(len(numbers)))
        free = set(range(len(known)))
        if known:
            likeness = rows @ (np.array(ends) / np.maximum(np.linalg.norm(ends, axis=1), 1e-12)[:, None]).T
            for flat in np.argsort(-likeness, axis=None):
                row, track = divmod(int(flat), len(known))
                if row not in left or track not in free:
                    continue
                if likeness[row, track] <= 0.0 and len(known) + len(left) <= haul.senders:
                    break  # all that are left may be of new senders
                known[track].append(int(numbers[row]))
                left.remove(row)
                free.remove(track)
        found[place[1]] += [[int(numbers[row])] for row in sorted(left)]
    return found


def assemble(caught: Caught, seen: Look, features: Floats) -> Assembled:
    """`features`: of each fragment, shape (n, any)."""
    haul, sender = caught.haul, caught.sender
    known = [(index, track) for index, some in enumerate(tracks(haul, seen)) for track in some]
    indices = np.array([index for index, _ in known], np.int64)
    means = np.array([features[track].mean(axis=0) for _, track in known])
    gram = means @ means.T
    updates, portraits = [], []
    for start in range(len(known)):
        together = [number for one in _grow(start, indices, gram) for number in known[one][1]]
        for begun in known[start][1]:
            of_it = [number for number in together if sender[number] == sender[begun]]
            here = sum(haul.places[number][0] == haul.places[begun][0] for number in of_it)
            updates.append(here / haul.layout.fragments)
        first = known[start][1][0]
        theirs = {haul.places[number][1] for number in together if sender[number] == sender[first]}
        portraits.append(len(theirs) / haul.layout.fragments)
    return Assembled(updates, portraits)


def _grow(start: int, indices: Ints, gram: Floats) -> list[int]:
    """One track of each index, greedily. gram: products of their mean features, shape (tracks, tracks)."""
    chosen = [start]
    left = indices != indices[start]
    lengths = np.diagonal(gram)
    products = gram[start].copy()
    while left.any():
        distance = np.where(
            left, lengths - 2.0 * products / len(chosen), np.inf
        )  # squared, but for a constant
        nearest = int(distance.argmin())
        chosen.append(nearest)
        products += gram[nearest]
        left &= indices != indices[nearest]
    return chosen
