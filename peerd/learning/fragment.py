"""Fragments: slices of a flat float32 model vector, and the payload bytes that carry them.

Which values belong to index i follows from the layout alone, which all peers of a run share. Whatever
arrives was written by a stranger: it is decoded with `decode_payload` and never trusted further than that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from peerd.pb import payload_pb2
from peerd.types import DropReason

Vector = NDArray[np.float32]

WIRE_FLOAT = np.dtype("<f4")
MAX_PAYLOAD = 65_536
"""Bytes; no network has a larger Sphinx body."""
_FIXED_FIELDS = 9 + 5 + 5
"""run, round and index, each with its tag."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a vector of `parameters` floats is cut: `fragment_values` each, the last one what is left."""

    parameters: int
    fragment_values: int

    def __post_init__(self) -> None:
        if self.parameters < 1 or self.fragment_values < 1:
            raise ValueError("a layout needs at least one parameter and one value per fragment")

    @property
    def fragments(self) -> int:
        return -(-self.parameters // self.fragment_values)

    def slice(self, index: int) -> slice:
        """Where fragment `index` lies in the vector. IndexError outside 0 .. fragments - 1."""
        if not 0 <= index < self.fragments:
            raise IndexError(f"fragment {index} of {self.fragments}")
        start = index * self.fragment_values
        return slice(start, min(start + self.fragment_values, self.parameters))


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """A well-formed fragment; whether its run, round, index and length make sense is still open."""

    run: int
    round: int
    index: int
    values: Vector
    """Read-only, shape (n,), n >= 1; may hold NaN."""


@dataclass(frozen=True, slots=True)
class Cover:
    """An empty payload: it kept the sender's rate up, and means nothing."""


@dataclass(frozen=True, slots=True)
class Rejected:
    reason: DropReason


def fragment_values(payload_bytes: int) -> int:
    """How many float32 fit into a fragment whose encoded Payload has at most `payload_bytes` bytes.

    Raises ValueError when not even one does.
    """
    values = max(0, payload_bytes - _FIXED_FIELDS) // WIRE_FLOAT.itemsize
    while values > 0 and _encoded_bytes(values) > payload_bytes:
        values -= 1
    if values < 1:
        raise ValueError(f"a payload of {payload_bytes} bytes has no room for a fragment")
    return values


def _encoded_bytes(values: int) -> int:
    """The most that a Payload with a fragment of `values` floats takes."""
    data = values * WIRE_FLOAT.itemsize
    fragment = _FIXED_FIELDS + 1 + _varint_bytes(data) + data
    return 1 + _varint_bytes(fragment) + fragment


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def cut(vector: Vector, layout: Layout) -> Iterator[tuple[int, Vector]]:
    """(index, values) of every fragment, in order; the values are views of the vector."""
    if vector.shape != (layout.parameters,):
        raise ValueError(f"a vector of shape {vector.shape} does not fit {layout}")
    return ((index, vector[layout.slice(index)]) for index in range(layout.fragments))


def frozen(vector: Vector) -> Vector:
    """A read-only view: who hands out the vector itself, not a copy, lets nobody change it."""
    view = vector.view()
    view.setflags(write=False)
    return view


def encode_fragment(run: int, round: int, index: int, values: Vector) -> bytes:
    """A Payload. run: `RunSpec.wire_id`; round from 1; index from 0; values shape (n,)."""
    fragment = payload_pb2.Fragment(
        run=run, round=round, index=index, values=values.astype(WIRE_FLOAT, copy=False).tobytes()
    )
    return payload_pb2.Payload(fragment=fragment).SerializeToString()


def fragment_place(payload: bytes) -> bytes:
    """Run, round and index of an own fragment's Payload: what it is called, whatever its values are. 16
    bytes. ValueError for a payload that holds none."""
    fragment = payload_pb2.Payload.FromString(payload).fragment
    if not fragment.round:
        raise ValueError("the payload holds no fragment")
    return struct.pack(">QII", fragment.run, fragment.round, fragment.index)


def decode_payload(data: bytes) -> Fragment | Cover | Rejected:
    """What a stranger's payload says. Raises nothing."""
    if not data:
        return Cover()
    if len(data) > MAX_PAYLOAD:
        return Rejected(DropReason.BAD_PAYLOAD)
    try:
        payload = payload_pb2.Payload.FromString(data)
    except DecodeError:
        return Rejected(DropReason.BAD_PAYLOAD)
    if not payload.HasField("fragment"):
        return Rejected(DropReason.BAD_PAYLOAD)
    fragment = payload.fragment
    if not fragment.values or len(fragment.values) % WIRE_FLOAT.itemsize or not fragment.round:
        return Rejected(DropReason.BAD_FRAGMENT)
    values = np.frombuffer(fragment.values, WIRE_FLOAT).astype(np.float32, copy=False)
    return Fragment(fragment.run, fragment.round, fragment.index, values)
