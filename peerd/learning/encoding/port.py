"""What an encoding of fragments is."""

from __future__ import annotations

import random
from typing import Protocol

from peerd.layout import Layout
from peerd.learning.fragment import Data, Vector
from peerd.types import DropReason


class Encoding(Protocol):
    """Made for one size of packet: a fragment has room for so many bytes of values. Everything that a
    reader must know beside the bytes (how many values, how many of them are sent) follows from that room and
    the number of values that the index owns: nothing in a fragment says how long it is, or whose."""

    @property
    def lossless(self) -> bool:
        """Whether what is decoded is what was encoded, to the bit."""

    def layout(self, parameters: int, exact: int = 0) -> Layout:
        """The fewest fragments that a model of so many parameters needs. The last `exact` of them, fewer than
        all, bear no coarse rounding: int8 and sparse encodings leave them to `Float32`."""

    def encode(self, values: Vector, rng: random.Random) -> Data:
        """Values of one index, finite, shape (n,). `rng`: fresh randomness for each call."""

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        """What a stranger sent for an index of `length` values, read-only or not, shape (length,), perhaps
        not finite. BAD_FRAGMENT for bytes that are none, NOT_FINITE for a scale that is no scale. The size
        of `data` is checked first; nothing is allocated beyond `length` values. Raises nothing."""
