"""Values in half a byte each, for what is sent of sparse deltas.

    scales | nibbles     float32 for each `BUCKET` values; then q in -7 .. 7, two to a byte, the first one low

A scale is a seventh of the largest value of its bucket, so a layer whose values are much larger than those
beside it coarsens 127 of them and not a whole fragment. Rounding is to the nearest: it leaves no noise that
has to cancel; what it leaves stays with the sender and goes into a later delta.
"""

from __future__ import annotations

import numpy as np

from peerd.learning.fragment import WIRE_FLOAT, Vector
from peerd.types import DropReason

BUCKET = 128
STEPS = 7
SCALE_BYTES = WIRE_FLOAT.itemsize
FULL_BYTES = SCALE_BYTES + BUCKET // 2
"""Of a bucket with all its values."""
VALUE_BYTES = FULL_BYTES / BUCKET
"""Of one value among many."""
LEAST_BYTES = SCALE_BYTES + 1
"""Of the smallest bucket."""


def bytes_of(values: int) -> int:
    """That so many values take."""
    return SCALE_BYTES * -(-values // BUCKET) + -(-values // 2)


def most(room: int) -> int:
    """How many values fit into so many bytes."""
    buckets, left = divmod(max(room, 0), FULL_BYTES)
    return BUCKET * buckets + 2 * max(left - SCALE_BYTES, 0)


def pack(values: Vector) -> bytes:
    """Finite ones, shape (n,), n >= 1."""
    starts = np.arange(0, len(values), BUCKET)
    scales = np.maximum.reduceat(np.abs(values), starts) / np.float32(STEPS)
    each = np.repeat(scales, BUCKET)[: len(values)]
    steps = np.zeros(len(values), np.float32)
    np.divide(values, each, out=steps, where=each > 0.0)
    nibbles = np.zeros(2 * -(-len(values) // 2), np.uint8)
    nibbles[: len(values)] = np.rint(steps).clip(-STEPS, STEPS).astype(np.int8).view(np.uint8) & 0xF
    packed: bytes = (nibbles[::2] | nibbles[1::2] << 4).tobytes()
    return bytes(scales.astype(WIRE_FLOAT).tobytes()) + packed


def unpack(data: bytes, values: int) -> Vector | DropReason:
    """So many, perhaps not finite. BAD_FRAGMENT for bytes that are none, NOT_FINITE for a scale that is none.
    The size of `data` is checked first."""
    if len(data) != bytes_of(values):
        return DropReason.BAD_FRAGMENT
    buckets = -(-values // BUCKET)
    scales = np.frombuffer(data, WIRE_FLOAT, buckets).astype(np.float32)
    if not np.isfinite(scales).all():
        return DropReason.NOT_FINITE
    if np.signbit(scales).any():
        return DropReason.BAD_FRAGMENT
    packed = np.frombuffer(data, np.uint8, offset=SCALE_BYTES * buckets)
    nibbles = np.stack([packed & 0xF, packed >> 4], axis=1).ravel()[:values]
    steps = (nibbles ^ 8).astype(np.int8) - np.int8(8)  # two's complement
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
        whole: Vector = np.multiply(steps, np.repeat(scales, BUCKET)[:values], dtype=np.float32)
    return whole
