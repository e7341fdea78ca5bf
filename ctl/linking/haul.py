"""What one peer has received, and what it knows besides: all that its attacks may look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from peerd.learning import Layout

Vector = NDArray[np.float32]
Ints = NDArray[np.int64]
Place = tuple[int, int]
"""Round and index."""


@dataclass(slots=True)
class Haul:
    """Of one peer. A fragment is known by its number, in order of arrival."""

    layout: Layout
    senders: int
    """How many others there are."""
    places: list[Place] = field(default_factory=list)
    values: list[Vector] = field(default_factory=list)
    """Decoded."""
    own: dict[Place, Vector] = field(default_factory=dict)
    """The fragments that the peer itself has sent, as others decode them."""
    bases: dict[int, Vector] = field(default_factory=dict)
    """By round: what its own training started from, shape (parameters,); 0 where fragments are changes."""
    shadows: dict[int, list[Vector]] = field(default_factory=dict)
    """By round: what training on data that no peer has makes of it, in the units of fragments."""
    references: dict[Place, Vector] = field(default_factory=dict)
    """By round and target: what training on the target's data makes of that, in the units of fragments."""

    def base(self, place: Place) -> Vector:
        return self.bases[place[0]][self.layout.slice(place[1])]

    def reference(self, target: int, place: Place) -> Vector:
        return self.references[place[0], target][self.layout.slice(place[1])]

    def groups(self) -> dict[Place, Ints]:
        """The numbers of the fragments of each place, in order."""
        found: dict[Place, list[int]] = {}
        for number, place in enumerate(self.places):
            found.setdefault(place, []).append(number)
        return {place: np.array(found[place], np.int64) for place in sorted(found)}


@dataclass(frozen=True, slots=True)
class Caught:
    """A haul with its truth."""

    haul: Haul
    sender: Ints
    """Of each fragment, shape (n,)."""
