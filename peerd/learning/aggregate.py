"""The mean of one round's fragments, index by index, without knowing which fragments belong together.

Unweighted among the fragments of the round: sample counts would tell senders apart. For every index the
own update counts once and every fragment that arrived counts once; a stale one, of an earlier round, counts
half as much for each round that it is late. Where fragments are missing the mean is over those that are
there; where all are missing the own values stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.learning.fragment import Layout, Vector
from peerd.types import DropReason

STALE_WEIGHT = 0.5
"""For each round of age. A power of two: the product with a float32 is exact."""


class Mean:
    """Sums are float64: the 53 bits hold the sum of a cohort's float32 values exactly unless their
    magnitudes differ by more than about 2^26 (less 1 for each round that a stale one is late), so the order
    of arrival does not matter and peers that received the same fragments compute the same model, almost
    always to the last bit. So does a peer that only listened: its sum has the same terms."""

    def __init__(self, layout: Layout, limit: int) -> None:
        self.limit = limit
        """Most fragments that an index accepts, and most stale ones: one from each other peer."""
        self.counts: NDArray[np.int64] = np.zeros(layout.fragments, np.int64)
        """Accepted fragments of the round itself, shape (fragments,)."""
        self.stale: NDArray[np.int64] = np.zeros(layout.fragments, np.int64)
        """Accepted fragments of earlier rounds, shape (fragments,)."""
        self._layout = layout
        self._sums = np.zeros(layout.parameters, np.float64)
        self._weights = np.zeros(layout.fragments, np.float64)

    def add(self, index: int, values: Vector, age: int = 0) -> DropReason | None:
        """Count a stranger's fragment in, or say why not. age: how many rounds it is late."""
        if not 0 <= index < self._layout.fragments:
            return DropReason.BAD_FRAGMENT
        where = self._layout.slice(index)
        if values.shape != (where.stop - where.start,):
            return DropReason.BAD_FRAGMENT
        if not np.isfinite(values).all():
            return DropReason.NOT_FINITE
        counts = self.stale if age else self.counts
        if counts[index] >= self.limit:
            return DropReason.OVER_COUNT
        weight = STALE_WEIGHT**age
        self._sums[where] += np.multiply(values, weight, dtype=np.float64) if age else values
        self._weights[index] += weight
        counts[index] += 1
        return None

    @property
    def fragments(self) -> int:
        """All that were accepted."""
        return int(self.counts.sum() + self.stale.sum())

    def received(self, others: int) -> int:
        """Fragments of the round itself, counting at most `others` for each index."""
        return int(np.minimum(self.counts, others).sum())

    def result(self, own: Vector) -> Vector:
        """The mean with the own update, shape (parameters,), float32."""
        mean: Vector = ((self._sums + own) / (self._spread() + 1.0)).astype(np.float32)
        return mean

    def of_others(self, model: Vector) -> Vector:
        """The mean of the others alone; what nobody sent is as in `model`. Shape (parameters,), float32."""
        weights = self._spread()
        mean = model.astype(np.float64)
        np.divide(self._sums, weights, out=mean, where=weights > 0.0)
        return mean.astype(np.float32)

    def _spread(self) -> NDArray[np.float64]:
        """The weights by value instead of by index."""
        return np.repeat(self._weights, self._layout.fragment_values)[: self._layout.parameters]
