"""What a learner says is final, on its way to the daemon: checked, laid into the shared memory, told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from peerd.errors import InvalidInputError
from peerd.layout import Layout
from peerd.trainerproto import Vector

MOST = 2_000
"""Fragments in one message: their numbers fit into its line."""


class FragmentStream:
    """`begin` a round, `put` fragments, `tell` now and then, `check` at the end. See `task.Stream`."""

    def __init__(self, task: str, say: Callable[[tuple[int, ...]], None]) -> None:
        self._task = task
        self._say = say
        self._layout: Layout | None = None
        self._update: Vector = np.zeros(0, np.float32)
        self._put: list[int] = []
        self._told = 0

    def begin(self, update: Vector, layout: Layout | None) -> None:
        """`update` takes the fragments, shape (parameters,). None: nothing is wanted."""
        if layout is not None and layout.parameters != len(update):
            raise ValueError(f"a layout of {layout.parameters} parameters, not {len(update)}")
        self._update, self._layout = update, layout
        self._put.clear()
        self._told = 0

    @property
    def fragments(self) -> int:
        return 0 if self._layout is None else self._layout.fragments

    def slice(self, index: int) -> slice:
        if self._layout is None:
            raise IndexError("no fragments are wanted")
        return self._layout.slice(index)

    def put(self, index: int, values: Vector) -> None:
        """Raises InvalidInputError for what is no fragment, or not finite."""
        if not 0 <= index < self.fragments:
            raise InvalidInputError(f"task {self._task!r}: the model has no fragment {index}")
        where = self.slice(index)
        if values.shape != self._update[where].shape:
            raise InvalidInputError(f"task {self._task!r}: fragment {index} has the wrong size")
        if not np.isfinite(values).all():
            raise InvalidInputError(f"task {self._task!r}: training diverged; lower learning_rate")
        self._update[where] = values
        self._put.append(index)

    def tell(self) -> None:
        """The daemon, of what is new."""
        while new := self._put[self._told : self._told + MOST]:
            self._told += len(new)
            self._say(tuple(new))

    def check(self, trained: Vector) -> None:
        """Raises InvalidInputError where the trained vector is not what was given of it."""
        for index in self._put:
            where = self.slice(index)
            if self._update[where].tobytes() != trained[where].tobytes():
                raise InvalidInputError(
                    f"task {self._task!r}: training changed fragment {index} after it had been called final"
                )
