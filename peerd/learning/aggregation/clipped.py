"""The mean of moves, none of which is much longer than the others (centered clipping, Karimireddy et al.
2021, "Learning from history for Byzantine robust optimization").

    assumes       that more than half of the fragments of an index are honest, so that the median length of
                  a move is an honest one, and that the last aggregate is good: it is the centre
    breakdown     none in the sense of the median: false fragments of less than half move the mean, but each
                  of them by no more than clip / n median moves a round
    memory        `limit` models of float32

For every index: a fragment's move is its difference from the last aggregate, the radius `clip` times the
median length of the moves, and who moves farther is shortened to the radius. The paper's radius is a
constant that one must know for the model; one from the fragments themselves suits all layers and all rounds.
One iteration, as the paper finds enough. A whole update could be clipped as one; fragments can only be
clipped one by one, so a false update may spend a full radius on every index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.aggregation.port import Buffered
from peerd.learning.fragment import Vector


class ClippedMean(Buffered):
    """`clip`: in median lengths of a move."""

    def __init__(self, layout: Layout, limit: int, clip: float) -> None:
        super().__init__(layout, limit)
        self._clip = clip

    def _combine(self, rows: NDArray[np.float64], last: Vector) -> NDArray[np.floating]:
        rows -= last
        lengths = np.linalg.norm(rows, axis=1)
        radius = self._clip * float(np.median(lengths))
        shortened = np.divide(radius, lengths, out=np.ones_like(lengths), where=lengths > radius)
        moved: NDArray[np.float64] = last + (rows * shortened[:, None]).mean(axis=0)
        return moved
