"""What fragments of different indices have in common: how much they are like those of shadows.

An attacker who has some data of the same kind (here the task's test samples, which no peer trains on) trains
shadow peers on parts of it, from the model of the round (after the shadow models of Shokri et al. 2017). Of
each shadow he has all indices. A fragment's residual is written as a mixture of the shadows' residuals of its
index (ridge regression); the weights say whose data the sender's are like, and mean the same for every index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctl.linking.features import TINY, Floats, Look
from ctl.linking.haul import Haul

RIDGE = 1.0
"""Beside residuals of length 1."""


def weights(haul: Haul, seen: Look) -> Floats:
    """Of each fragment, of length 1, shape (n, shadows)."""
    count = len(next(iter(haul.shadows.values()), []))
    result = np.zeros((len(haul.places), count))
    for (round, index), numbers in seen.groups.items():
        where = haul.layout.slice(index)
        shadows = np.array([shadow[where] for shadow in haul.shadows[round]], np.float64)
        shadows = _units(shadows - shadows.mean(axis=0))
        rows = np.array([seen.residuals[number] for number in numbers], np.float64)
        gram = shadows @ shadows.T + RIDGE * np.eye(count)
        result[numbers] = _units(np.linalg.solve(gram, shadows @ rows.T).T)
    return result


def _units(rows: NDArray[np.floating]) -> Floats:
    result: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    return result
