"""What an aggregator is: fragments of one round go in, index by index, and one model comes out.

All aggregators work on what is known: how many fragments came for an index, and their values. Which of them
belong together, or whose they are, nobody knows. Sample counts would tell senders apart, so there are none.
For every index the own values count once and so does every fragment that arrived; that no message is
given twice is delivery's to see to. Where fragments are missing, the result is that of those that are there,
own values included; where all are missing the own values stand, and without any the last aggregate's.

Values are models, or deltas, against a last aggregate of zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.learning.fragment import Vector
from peerd.types import DropReason


class Aggregator(ABC):
    """The bookkeeping that all share. `layout`: of the run's encoding."""

    def __init__(self, layout: Layout, limit: int) -> None:
        self.limit = limit
        """Most fragments that an index accepts, and most stale ones: one from each other peer."""
        self.counts: NDArray[np.int64] = np.zeros(layout.fragments, np.int64)
        """Accepted fragments of the round itself, shape (fragments,)."""
        self.stale: NDArray[np.int64] = np.zeros(layout.fragments, np.int64)
        """Accepted fragments of earlier rounds, shape (fragments,)."""
        self._layout = layout

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
        self._take(index, values, age)
        counts[index] += 1
        return None

    @property
    def fragments(self) -> int:
        """All that were accepted."""
        return int(self.counts.sum() + self.stale.sum())

    def received(self, others: int) -> int:
        """Fragments of the round itself, counting at most `others` for each index."""
        return int(np.minimum(self.counts, others).sum())

    def result(self, own: Callable[[int], Vector] | None, last: Vector | None) -> Vector:
        """The aggregate, shape (parameters,), float32, finite. own: the own values of an index; None for who
        only listens. last: the last aggregate, shape (parameters,); None where values are deltas.

        Once: what was kept is let go of on the way, so that the result takes its place in memory."""
        whole = self._room()
        for index in range(self._layout.fragments):
            where = self._layout.slice(index)
            before = np.zeros(where.stop - where.start, np.float32) if last is None else last[where]
            whole[where] = self._close(index, None if own is None else own(index), before)
        return whole

    def _room(self) -> Vector:
        """For the result, shape (parameters,)."""
        return np.empty(self._layout.parameters, np.float32)

    @abstractmethod
    def _take(self, index: int, values: Vector, age: int) -> None:
        """Keep it, or what matters of it; `values` may be a view of what came."""

    @abstractmethod
    def _close(self, index: int, own: Vector | None, last: Vector) -> NDArray[np.floating]:
        """The values of one index, and forget it."""


class Buffered(Aggregator):
    """Keeps the fragments themselves until the round is closed: at most `limit` for an index, so at most
    `limit` models of float32. Late ones are refused by the spec: they would count like any other."""

    def __init__(self, layout: Layout, limit: int) -> None:
        super().__init__(layout, limit)
        self._rows: list[list[Vector]] = [[] for _ in range(layout.fragments)]

    def _take(self, index: int, values: Vector, age: int) -> None:
        self._rows[index].append(values)

    def _close(self, index: int, own: Vector | None, last: Vector) -> NDArray[np.floating]:
        rows, self._rows[index] = self._rows[index], []
        if own is not None:
            rows.append(own)
        if not rows:
            return last
        # Sums of floats depend on their order: in that of their bytes every peer has the same.
        rows.sort(key=lambda row: row.tobytes())
        return self._combine(np.array(rows, np.float64), last)

    @abstractmethod
    def _combine(self, rows: NDArray[np.float64], last: Vector) -> NDArray[np.floating]:
        """One row from some, shape (n, values), n >= 1, in an order that follows from them alone."""
