"""The mean of every coordinate without its largest and smallest values (Yin et al. 2018).

    assumes       that at most a share `trim` of the values of a coordinate are false
    breakdown     trim (of n values floor(trim * n) are left out on each side)
    memory        `limit` models of float32

Between mean and median: of honest values more are used, so it is less noisy, and it withstands fewer false
ones. Like the median it needs not know whose a fragment is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.aggregation.port import Buffered
from peerd.learning.fragment import Vector


class TrimmedMean(Buffered):
    """`trim`: below one half, so that something is left."""

    def __init__(self, layout: Layout, limit: int, trim: float) -> None:
        super().__init__(layout, limit)
        self._trim = trim

    def _combine(self, rows: NDArray[np.float64], last: Vector) -> NDArray[np.floating]:
        cut = int(self._trim * len(rows))
        kept = np.sort(rows, axis=0)[cut : len(rows) - cut]
        mean: NDArray[np.float64] = kept.mean(axis=0)
        return mean
