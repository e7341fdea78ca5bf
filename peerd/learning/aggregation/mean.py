"""The mean of one round's fragments, index by index, without knowing which fragments belong together.

    assumes       that everybody is honest: one false fragment moves the mean as far as it likes
    breakdown     0
    memory        one model of float64, however many peers there are, taken as indices come; the result lies
                  in the half of it that its own sums have left

Unweighted among the fragments of the round. A stale one, of an earlier round, counts less for each round
that it is late: half as much (`Mean`), or as 1 / (1 + age) (`WeightedByAge`: the polynomial staleness of
FedAsync, Xie et al. 2019, with exponent 1), which lets slow peers count for longer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.aggregation.memory import Memory
from peerd.learning.aggregation.port import Aggregator
from peerd.learning.fragment import Vector

FLOAT64_BYTES = np.dtype(np.float64).itemsize


class Mean(Aggregator):
    """Sums are float64: the 53 bits hold the sum of a cohort's float32 values exactly unless their
    magnitudes differ by more than about 2^26 (less 1 for each round that a stale one is late), so the order
    of arrival does not matter and peers that received the same fragments compute the same model, almost
    always to the last bit. So does a peer that only listened: its sum has the same terms."""

    def __init__(self, layout: Layout, limit: int) -> None:
        super().__init__(layout, limit)
        self._memory = Memory(layout.parameters * FLOAT64_BYTES)
        self._sums: NDArray[np.float64] = self._memory.array(np.float64)
        self._weights = [0.0] * layout.fragments

    @staticmethod
    def _weight(age: int) -> float:
        """A power of two: the product with a float32 is exact."""
        return 0.5**age

    def _take(self, index: int, values: Vector, age: int) -> None:
        weight = self._weight(age)
        sums = self._sums[self._layout.slice(index)]
        sums += np.multiply(values, weight, dtype=np.float64) if age else values
        self._weights[index] += weight

    def _close(self, index: int, own: Vector | None, last: Vector) -> NDArray[np.floating]:
        weight = self._weights[index]
        if not weight:
            return last if own is None else own
        sums = self._sums[self._layout.slice(index)]
        if own is not None:
            sums += own
            weight += 1.0
        sums /= weight
        return sums

    def _room(self) -> Vector:
        """Of an index the result ends at half of where its sums end: never in sums that are still to be
        read, since indices are closed in order."""
        room: Vector = self._memory.array(np.float32)
        return room[: self._layout.parameters]

    def result(self, own: Callable[[int], Vector] | None, last: Vector | None) -> Vector:
        whole = super().result(own, last)
        self._memory.cut(whole.nbytes)
        return whole


class WeightedByAge(Mean):
    """Where nothing is late it is `Mean`. Weights are rounded to 8 bits, so that their products with a
    float32 are exact in float64 as well, and sums do not depend on the order."""

    @staticmethod
    def _weight(age: int) -> float:
        return round(256 / (1 + age)) / 256
