"""An update on its way out: final index by index, encoded index by index, each when it is first needed."""

from __future__ import annotations

import random
from collections.abc import Iterable

from peerd.layout import Layout
from peerd.learning.encoding import Encoding, Float32
from peerd.learning.fragment import Data, Vector
from peerd.types import DropReason


class Pieces:
    """Encoding a large model at once would hold up the packets of others. What was encoded once stays the
    same, whoever it is sent to."""

    def __init__(
        self, layout: Layout, encoding: Encoding, values: Vector, rng: random.Random, *, feedback: bool
    ) -> None:
        """Nothing of `values` is final yet. feedback: they become what encoding leaves of them."""
        self._layout = layout
        self._encoding = encoding
        self._exact = Float32(0)
        self._values: Vector | None = values
        self._rng = rng
        self._feedback = feedback
        self._made: dict[int, Data] = {}
        self._final: set[int] = set()

    def __len__(self) -> int:
        return self._layout.fragments

    @property
    def final(self) -> list[int]:
        """The indices that can be sent, in order."""
        return sorted(self._final)

    def settle(self, indices: Iterable[int]) -> None:
        """These will not change any more."""
        self._final.update(indices)

    def __getitem__(self, index: int) -> Data:
        """As it travels. KeyError for one that is not final."""
        if index not in self._final:
            raise KeyError(f"fragment {index} is not final")
        made = self._made.get(index)
        return self._make(index) if made is None else made

    def values(self, index: int) -> Vector:
        """As others decode it."""
        data = self[index]
        return self._decoded(index, data)

    def finish(self) -> None:
        """Encode what is final and has not been asked for: what encoding leaves of `values` is needed."""
        if not self._encoding.lossless:
            for index in self._final:
                self[index]

    def _make(self, index: int) -> Data:
        assert self._values is not None
        values = self._values[self._layout.slice(index)]
        coder = self._coder(index)
        data = coder.encode(values, self._rng)
        if self._encoding.lossless:
            return data
        if coder.lossless:
            data = values.copy()  # what is fed back is about to be taken from it
        self._made[index] = data
        if self._feedback:
            values -= self._decoded(index, data)
        if len(self._made) == len(self):
            self._values = None
        return data

    def _decoded(self, index: int, data: Data) -> Vector:
        if not isinstance(data, bytes):
            return data
        where = self._layout.slice(index)
        values = self._coder(index).decode(data, where.stop - where.start)
        assert not isinstance(values, DropReason)
        return values

    def _coder(self, index: int) -> Encoding:
        return self._exact if self._layout.is_exact(index) else self._encoding
