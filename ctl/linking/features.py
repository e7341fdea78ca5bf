"""What a fragment looks like to who received it: a residual to compare with others of its index, and
features that do not depend on the index.

    residual     values less the mean of all that is known of its round and index, the own fragment included
    delta        values less the model that the own training started from
    features     log of the delta's and of the residual's length; cosine of delta and mean delta; how peaked
                 the delta is (log of its 4-norm to its 2-norm); its mean to its root mean square; smallest,
                 middle and largest cosine of the residual with the others'

Features are centred on their mean in their round and index and scaled by their deviation over the rounds, so
that they compare across indices. The own fragment counts in all means: it is one more of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctl.linking.haul import Haul, Ints, Place, Vector

Floats = NDArray[np.float64]

FEATURES = 8
LENGTH = slice(0, 1)
"""Of the delta, alone."""
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Look:
    """Of a haul of n fragments."""

    residuals: list[Vector]
    """Of length 1, or 0."""
    means: dict[Place, Vector]
    features: Floats
    """Shape (n, FEATURES)."""
    groups: dict[Place, Ints]


def look(haul: Haul) -> Look:
    groups = haul.groups()
    residuals: list[Vector] = [np.zeros(0, np.float32)] * len(haul.places)
    means: dict[Place, Vector] = {}
    features = np.zeros((len(haul.places), FEATURES))
    for place, numbers in groups.items():
        rows = np.array([*(haul.values[number] for number in numbers), haul.own[place]], np.float64)
        means[place] = rows.mean(axis=0).astype(np.float32)
        left = rows - rows.mean(axis=0)
        units = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), TINY)
        found = _features(rows - haul.base(place), left, units)
        features[numbers] = (found - found.mean(axis=0))[:-1]
        for number, unit in zip(numbers, units[:-1], strict=True):
            residuals[number] = unit.astype(np.float32)
    for index in range(haul.layout.fragments):
        same = np.array([number for number, place in enumerate(haul.places) if place[1] == index], np.int64)
        if len(same):
            features[same] /= np.maximum(features[same].std(axis=0), TINY)
    return Look(residuals, means, features, groups)


def _features(deltas: Floats, left: Floats, units: Floats) -> Floats:
    """Shape (n, FEATURES), the own fragment last."""
    length = np.maximum(np.linalg.norm(deltas, axis=1), TINY)
    mean = deltas.mean(axis=0)
    typical = deltas @ mean / (length * max(float(np.linalg.norm(mean)), TINY))
    peaked = np.log(np.maximum(np.sum(deltas**4, axis=1) ** 0.25, TINY) / length)
    drift = deltas.mean(axis=1) / length * np.sqrt(deltas.shape[1])
    cosines = units @ units.T
    np.fill_diagonal(cosines, np.nan)
    many = len(units) > 1
    to_others = np.nanquantile(cosines, (0.0, 0.5, 1.0), axis=1) if many else np.zeros((3, len(units)))
    residual = np.log(np.maximum(np.linalg.norm(left, axis=1), TINY))
    return np.stack([np.log(length), residual, typical, peaked, drift, *to_others], axis=1)


def cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / max(float(np.linalg.norm(one) * np.linalg.norm(other)), TINY))
