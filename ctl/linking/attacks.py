"""Single guesses, each by nearest neighbour among what has come, and how often they are right.

    within        given a fragment: which of another index, of the same round, is of the same sender? Nearest
                  by the length of its delta alone (`norm`), by all features (`shape`), or by what shadows it
                  is like (`shadows`)
    across        given a fragment: which of the same index, of the next round? Largest cosine of residuals
    attribution   given a target's data, which the attacker has trained on himself, from his own model: which
                  fragment of this round and index is the target's? Largest cosine with the residual of his

An attacker cannot know whether the right one has come at all, so he always guesses where anything has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctl.linking.features import Floats, Look, cosine
from ctl.linking.haul import Caught, Ints, Place

Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Count:
    """Of one kind of guess."""

    guesses: int = 0
    right: int = 0
    possible: int = 0
    """Guesses for which the right one had come."""
    by_chance: float = 0.0
    """How many of the possible ones would have been right among equals."""

    def add(self, right: Bools, same: Ints, among: int) -> None:
        """Some guesses, each among so many: whether it was right, and how many of them would have been."""
        self.guesses += len(right)
        self.right += int(right.sum())
        self.possible += int((same > 0).sum())
        self.by_chance += float(same.sum()) / among

    def rates(self) -> dict[str, float | None]:
        """right: of all guesses. if_there: of those for which the right one had come; chance: the same, had
        he drawn. None where there was nothing to guess."""
        there = max(self.possible, 1)
        return {
            "right": self.right / self.guesses if self.guesses else None,
            "if_there": self.right / there if self.possible else None,
            "chance": self.by_chance / there if self.possible else None,
        }


def within(caught: Caught, seen: Look, features: Floats) -> Count:
    """`features`: of each fragment, comparable across indices, shape (n, any)."""
    return _link(caught, seen, _same_round(seen), _by_features(features))


def across(caught: Caught, seen: Look) -> Count:
    pairs = [
        (place, (place[0] + 1, place[1])) for place in seen.groups if (place[0] + 1, place[1]) in seen.groups
    ]
    return _link(caught, seen, pairs, _by_residuals(seen))


def _same_round(seen: Look) -> list[tuple[Place, Place]]:
    return [
        (one, other) for one in seen.groups for other in seen.groups if one[0] == other[0] and one != other
    ]


Distances = Callable[[Ints, Ints], Floats]


def _by_features(features: Floats) -> Distances:
    return lambda given, among: np.linalg.norm(features[given][:, None] - features[among][None], axis=2)


def _by_residuals(seen: Look) -> Distances:
    def distances(given: Ints, among: Ints) -> Floats:
        one = np.array([seen.residuals[number] for number in given], np.float64)
        other = np.array([seen.residuals[number] for number in among], np.float64)
        result: Floats = -(one @ other.T)
        return result

    return distances


def _link(caught: Caught, seen: Look, pairs: Sequence[tuple[Place, Place]], distances: Distances) -> Count:
    count = Count()
    for one, other in pairs:
        given, among = seen.groups[one], seen.groups[other]
        nearest = among[distances(given, among).argmin(axis=1)]
        true = caught.sender[given]
        same = (true[:, None] == caught.sender[among][None]).sum(axis=1)
        count.add(true == caught.sender[nearest], same, len(among))
    return count


@dataclass(frozen=True, slots=True)
class Attributed:
    count: Count
    parts: list[float]
    """Of each target's update of each round: the part that the attacker has and names."""


def attribution(caught: Caught, seen: Look) -> Attributed:
    """Of who has `references`; nothing to others."""
    haul, count = caught.haul, Count()
    parts = []
    for round, target in haul.references:
        right = 0
        for index in range(haul.layout.fragments):
            among = seen.groups.get((round, index))
            if among is None:
                continue
            expected = haul.reference(target, (round, index)) - seen.means[round, index]
            scores = [cosine(seen.residuals[number], expected) for number in among]
            hit = bool(caught.sender[among[int(np.argmax(scores))]] == target)
            same = np.array([(caught.sender[among] == target).sum()])
            count.add(np.array([hit]), same, len(among))
            right += hit
        parts.append(right / haul.layout.fragments)
    return Attributed(count, parts)
