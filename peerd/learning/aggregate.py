"""The mean of one round's fragments, index by index, without knowing which fragments belong together.

Unweighted: sample counts would tell senders apart. For every index the own update counts once and every
fragment that arrived counts once. Where fragments are missing the mean is over those that are there; where
all are missing the own values stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.learning.fragment import Layout, Vector
from peerd.types import DropReason


class Mean:
    """Sums are float64: the 53 bits hold the sum of a cohort's float32 values exactly unless their
    magnitudes differ by more than about 2^26, so the order of arrival does not matter and peers that
    received the same fragments compute the same model, almost always to the last bit."""

    def __init__(self, layout: Layout, limit: int) -> None:
        self.limit = limit
        """Most fragments that an index accepts: one from each other peer."""
        self.counts: NDArray[np.int64] = np.zeros(layout.fragments, np.int64)
        """Accepted fragments, shape (fragments,)."""
        self._layout = layout
        self._sums = np.zeros(layout.parameters, np.float64)

    def add(self, index: int, values: Vector) -> DropReason | None:
        """Count a stranger's fragment in, or say why not."""
        if not 0 <= index < self._layout.fragments:
            return DropReason.BAD_FRAGMENT
        where = self._layout.slice(index)
        if values.shape != (where.stop - where.start,):
            return DropReason.BAD_FRAGMENT
        if not np.isfinite(values).all():
            return DropReason.NOT_FINITE
        if self.counts[index] >= self.limit:
            return DropReason.OVER_COUNT
        self._sums[where] += values
        self.counts[index] += 1
        return None

    def received(self, others: int) -> int:
        """Fragments that arrived, counting at most `others` for each index."""
        return int(np.minimum(self.counts, others).sum())

    def result(self, own: Vector) -> Vector:
        """The mean with the own update, shape (parameters,), float32."""
        count = np.repeat(self.counts + 1, self._layout.fragment_values)[: len(own)]
        mean: Vector = ((self._sums + own) / count).astype(np.float32)
        return mean
