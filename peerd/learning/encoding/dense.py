"""All values of an index, each in fewer bits.

    float32    4 bytes   exact
    float16    2 bytes   relative error to 2^-11, absolute to 2^-25; beyond 65504 it saturates
    bfloat16   2 bytes   relative error to 2^-8; the range of float32
    int8       1 byte    absolute error below largest/127, zero on average (QSGD, Alistarh et al. 2017)

The scale of int8 is that of one fragment: 4 bytes in front of the values. Rounding is stochastic, so that
over many peers and rounds the errors cancel: q = floor(x / scale + u) with u uniform in [0, 1).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from peerd.layout import Layout
from peerd.learning.fragment import WIRE_FLOAT, Data, Vector
from peerd.types import DropReason

SCALE_BYTES = 4
STEPS = 127
LARGEST = float(np.finfo(np.float32).max)
LARGEST_BFLOAT16 = np.uint32(0x7F7F0000).view(np.float32)
LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class _Dense:
    room: int
    value_bytes: ClassVar[int]
    overhead: ClassVar[int] = 0
    """Bytes before the values."""

    @property
    def lossless(self) -> bool:
        return False

    def layout(self, parameters: int, exact: int = 0) -> Layout:
        """ValueError where not even one value has room."""
        values = (self.room - self.overhead) // self.value_bytes
        if values < 1:
            raise ValueError("a payload that small has no room for a fragment")
        return Layout(parameters, values)

    def _is_whole(self, data: bytes, length: int) -> bool:
        return len(data) == self.overhead + self.value_bytes * length


@dataclass(frozen=True, slots=True)
class Float32(_Dense):
    value_bytes = WIRE_FLOAT.itemsize

    @property
    def lossless(self) -> bool:
        return True

    def encode(self, values: Vector, rng: random.Random) -> Data:
        return values

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        if not self._is_whole(data, length):
            return DropReason.BAD_FRAGMENT
        return np.frombuffer(data, WIRE_FLOAT).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class Float16(_Dense):
    value_bytes = 2

    def encode(self, values: Vector, rng: random.Random) -> Data:
        return values.clip(-LARGEST_FLOAT16, LARGEST_FLOAT16).astype("<f2").tobytes()

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        if not self._is_whole(data, length):
            return DropReason.BAD_FRAGMENT
        return np.frombuffer(data, "<f2").astype(np.float32)


@dataclass(frozen=True, slots=True)
class BFloat16(_Dense):
    """The upper half of a float32, rounded to the nearest, ties to even."""

    value_bytes = 2

    def encode(self, values: Vector, rng: random.Random) -> Data:
        bits = values.clip(-LARGEST_BFLOAT16, LARGEST_BFLOAT16).view(np.uint32)
        odd = (bits >> 16) & 1
        rounded: bytes = ((bits + 0x7FFF + odd) >> 16).astype("<u2").tobytes()
        return rounded

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        if not self._is_whole(data, length):
            return DropReason.BAD_FRAGMENT
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True, slots=True)
class Int8(_Dense):
    value_bytes = 1
    overhead = SCALE_BYTES

    def layout(self, parameters: int, exact: int = 0) -> Layout:
        """ValueError where not even one value has room."""
        exact = filled(exact, parameters, self.room)
        return with_exact(_Dense.layout(self, parameters - exact), exact, self.room)

    def encode(self, values: Vector, rng: random.Random) -> Data:
        return quantise(values, rng)

    def decode(self, data: bytes, length: int) -> Vector | DropReason:
        if not self._is_whole(data, length):
            return DropReason.BAD_FRAGMENT
        return dequantise(data)


def filled(exact: int, parameters: int, room: int) -> int:
    """So many exact values, and as many before them as their fragments have room for; fewer than all."""
    values = room // WIRE_FLOAT.itemsize
    return min(-(-exact // max(values, 1)) * values, parameters - 1)


def with_exact(layout: Layout, exact: int, room: int) -> Layout:
    """With so many parameters more, exact, in fragments of so many bytes."""
    return Layout(layout.parameters + exact, layout.fragment_values, exact, room // WIRE_FLOAT.itemsize)


def quantise(values: Vector, rng: random.Random) -> bytes:
    """A scale and one signed byte for each value."""
    scale = np.float32(min(float(np.abs(values).max(initial=0.0)) / STEPS, LARGEST / STEPS * (1 - 2**-23)))
    if not scale > 0.0:  # all zero, or so small that float32 has no scale for them
        return bytes(SCALE_BYTES + len(values))
    uniform = np.random.Generator(np.random.PCG64(rng.getrandbits(128))).random(len(values), np.float32)
    steps = np.floor(values / scale + uniform).clip(-STEPS, STEPS).astype(np.int8)
    return bytes(scale.astype(WIRE_FLOAT).tobytes() + steps.tobytes())


def dequantise(data: bytes) -> Vector | DropReason:
    """The inverse, of at least a scale."""
    scale = np.frombuffer(data, WIRE_FLOAT, 1).astype(np.float32)[0]
    if not np.isfinite(scale):
        return DropReason.NOT_FINITE
    if scale < 0.0 or np.signbit(scale):
        return DropReason.BAD_FRAGMENT
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
        values: Vector = np.multiply(
            np.frombuffer(data, np.int8, offset=SCALE_BYTES), scale, dtype=np.float32
        )
    return values
