"""What a learner says is final, on its way to the daemon: checked, laid into the shared memory, told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector

MOST_BLOCKS = 2_000
"""In one message: their numbers fit into its line."""


class BlockStream:
    """`begin` a round, `put` blocks, `tell` now and then, `check` at the end. See `task.Stream`."""

    def __init__(self, task: str, say: Callable[[tuple[int, ...]], None]) -> None:
        self._task = task
        self._say = say
        self._update: Vector = np.zeros(0, np.float32)
        self._put: list[int] = []
        self._told = 0
        self.block = 0

    def begin(self, update: Vector, block: int) -> None:
        """`update` takes the blocks, shape (parameters,)."""
        self._update, self.block = update, block
        self._put.clear()
        self._told = 0

    def put(self, index: int, values: Vector) -> None:
        """Raises InvalidInputError for what is no block, or not finite."""
        where = self._where(index)
        if not self.block or where.start >= len(self._update) or index < 0:
            raise InvalidInputError(f"task {self._task!r}: the model has no block {index}")
        if values.shape != self._update[where].shape:
            raise InvalidInputError(f"task {self._task!r}: block {index} has the wrong size")
        if not np.isfinite(values).all():
            raise InvalidInputError(f"task {self._task!r}: training diverged; lower learning_rate")
        self._update[where] = values
        self._put.append(index)

    def tell(self) -> None:
        """The daemon, of what is new."""
        while new := self._put[self._told : self._told + MOST_BLOCKS]:
            self._told += len(new)
            self._say(tuple(new))

    def check(self, trained: Vector) -> None:
        """Raises InvalidInputError where the trained vector is not what was given of it."""
        for index in self._put:
            where = self._where(index)
            if self._update[where].tobytes() != trained[where].tobytes():
                raise InvalidInputError(
                    f"task {self._task!r}: training changed block {index} after it had been called final"
                )

    def _where(self, index: int) -> slice:
        return slice(index * self.block, min((index + 1) * self.block, len(self._update)))
