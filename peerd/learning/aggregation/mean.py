"""The mean of one round's fragments, index by index, without knowing which fragments belong together.

    assumes       that everybody is honest: one false fragment moves the mean as far as it likes
    breakdown     0
    memory        one model of float64, however many peers there are (allocated as indices come)

Unweighted among the fragments of the round. A stale one, of an earlier round, counts less for each round
that it is late: half as much (`Mean`), or as 1 / (1 + age) (`WeightedByAge`: the polynomial staleness of
FedAsync, Xie et al. 2019, with exponent 1), which lets slow peers count for longer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.learning.aggregation.port import Aggregator
from peerd.learning.fragment import Layout, Vector


class Mean(Aggregator):
    """Sums are float64: the 53 bits hold the sum of a cohort's float32 values exactly unless their
    magnitudes differ by more than about 2^26 (less 1 for each round that a stale one is late), so the order
    of arrival does not matter and peers that received the same fragments compute the same model, almost
    always to the last bit. So does a peer that only listened: its sum has the same terms."""

    def __init__(self, layout: Layout, limit: int) -> None:
        super().__init__(layout, limit)
        self._sums: list[NDArray[np.float64] | None] = [None] * layout.fragments
        self._weights = [0.0] * layout.fragments

    @staticmethod
    def _weight(age: int) -> float:
        """A power of two: the product with a float32 is exact."""
        return 0.5**age

    def _take(self, index: int, values: Vector, age: int) -> None:
        weight = self._weight(age)
        sums = self._sums[index]
        weighed = np.multiply(values, weight, dtype=np.float64) if age else values
        if sums is None:
            self._sums[index] = weighed.astype(np.float64)
        else:
            sums += weighed
        self._weights[index] += weight

    def _close(self, index: int, own: Vector | None, last: Vector) -> NDArray[np.floating]:
        sums, self._sums[index] = self._sums[index], None
        if sums is None:
            return last if own is None else own
        weight = self._weights[index]
        if own is not None:
            sums += own
            weight += 1.0
        sums /= weight
        return sums


class WeightedByAge(Mean):
    """Where nothing is late it is `Mean`. Weights are rounded to 8 bits, so that their products with a
    float32 are exact in float64 as well, and sums do not depend on the order."""

    @staticmethod
    def _weight(age: int) -> float:
        return round(256 / (1 + age)) / 256
