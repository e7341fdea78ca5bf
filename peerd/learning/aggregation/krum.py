"""For every index the fragment that is nearest to its nearest others (Krum, Blanchard et al. 2017).

    assumes       that of n fragments f = floor(trim * n) are false with n >= 2 f + 3, and that honest ones
                  are alike
    breakdown     trim, and never more than (n - 3) / 2n: with fewer than three it is the mean
    memory        `limit` models of float32

The paper's Krum chooses one whole update. Whose fragments belong together is not known here, so each index
chooses for itself, and the model is a patchwork of several peers' updates. That is weaker: the distance of
one fragment shows less than that of a whole update, and one false fragment that passes does not give away
the rest. And it does not average: expect more noise than of median or trimmed mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.aggregation.port import Buffered
from peerd.learning.fragment import Vector


class Krum(Buffered):
    """`trim`: the share of false fragments that is reckoned with."""

    def __init__(self, layout: Layout, limit: int, trim: float) -> None:
        super().__init__(layout, limit)
        self._trim = trim

    def _combine(self, rows: NDArray[np.float64], last: Vector) -> NDArray[np.floating]:
        if len(rows) < 3:
            few: NDArray[np.float64] = rows.mean(axis=0)
            return few
        neighbours = max(1, len(rows) - int(self._trim * len(rows)) - 2)
        # The nearest of all is the row itself, at no distance.
        scores = [np.sort(_distances(rows, row))[1 : 1 + neighbours].sum() for row in rows]
        chosen: NDArray[np.float64] = rows[int(np.argmin(scores))]
        return chosen


def _distances(rows: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared, of each, shape (n,)."""
    squared: NDArray[np.float64] = np.square(rows - row).sum(axis=1)
    return squared
