"""Fragments: slices of a flat float32 model vector, and the payload bytes that carry them.

Which values belong to index i follows from the layout alone, which all peers of a run share. Whatever
arrives was written by a stranger: it is decoded with `decode_payload` and never trusted further than that;
what its values are, the encoding of the run says (`encoding`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from peerd.pb import payload_pb2
from peerd.types import DropReason

Vector = NDArray[np.float32]
Data = bytes | Vector
"""Own values, ready to travel: as bytes, or as a float32 slice that is copied when it leaves."""

WIRE_FLOAT = np.dtype("<f4")
MAX_PAYLOAD = 65_536
"""Bytes; no network has a larger Sphinx body."""
_FIXED_FIELDS = 9 + 5 + 5
"""run, round and index, each with its tag."""


@dataclass(frozen=True, slots=True, eq=False)
class Fragment:
    """A well-formed fragment; whether its run, round, index and values make sense is still open."""

    run: int
    round: int
    index: int
    data: bytes
    """The values, encoded; at least one byte."""
    of_model: bool = False
    """A slice of the model that the round starts from, float32, not of an update."""


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """The payload of an own fragment, not made before it leaves: a model in payloads is another model of
    memory. Made again, it has the same bytes."""

    place: bytes
    """What it is called, whatever its values are."""
    make: Callable[[], bytes]
    index: int


@dataclass(frozen=True, slots=True)
class Cover:
    """An empty payload: it kept the sender's rate up, and means nothing."""


@dataclass(frozen=True, slots=True)
class Rejected:
    reason: DropReason


def data_room(payload_bytes: int) -> int:
    """Bytes of values that fit into a fragment whose encoded Payload has at most `payload_bytes` bytes;
    0 where none do."""
    room = max(0, payload_bytes - _FIXED_FIELDS)
    while room > 0 and _encoded_bytes(room) > payload_bytes:
        room -= 1
    return room


def fragment_values(payload_bytes: int) -> int:
    """How many float32 fit into such a fragment. Raises ValueError when not even one does."""
    values = data_room(payload_bytes) // WIRE_FLOAT.itemsize
    if values < 1:
        raise ValueError(f"a payload of {payload_bytes} bytes has no room for a fragment")
    return values


def _encoded_bytes(data: int) -> int:
    """The most that a Payload with a fragment of so many bytes of values takes."""
    fragment = _FIXED_FIELDS + 1 + _varint_bytes(data) + data
    return 1 + _varint_bytes(fragment) + fragment


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // 7))


def frozen(vector: Vector) -> Vector:
    """A read-only view: who hands out the vector itself, not a copy, lets nobody change it."""
    view = vector.view()
    view.setflags(write=False)
    return view


def encode_fragment(run: int, round: int, index: int, data: Data, *, of_model: bool = False) -> bytes:
    """A Payload. run: `RunSpec.wire_id`; round from 1; index from 0."""
    values = data if isinstance(data, bytes) else data.astype(WIRE_FLOAT, copy=False).tobytes()
    fragment = payload_pb2.Fragment(run=run, round=round, index=index, values=values)
    payload = payload_pb2.Payload(model=fragment) if of_model else payload_pb2.Payload(fragment=fragment)
    return payload.SerializeToString()


def parcel(run: int, round: int, index: int, data: Callable[[], Data], *, of_model: bool = False) -> Parcel:
    """As `encode_fragment`, later."""
    return Parcel(
        _place(run, round, index, of_model=of_model),
        lambda: encode_fragment(run, round, index, data(), of_model=of_model),
        index,
    )


def fragment_place(payload: bytes) -> bytes:
    """Run, round, index and kind of an own fragment's Payload: what it is called, whatever its values are.
    ValueError for a payload that holds none."""
    read = payload_pb2.Payload.FromString(payload)
    of_model = read.HasField("model")
    fragment = read.model if of_model else read.fragment
    if not fragment.round:
        raise ValueError("the payload holds no fragment")
    return _place(fragment.run, fragment.round, fragment.index, of_model=of_model)


def _place(run: int, round: int, index: int, *, of_model: bool) -> bytes:
    return struct.pack(">QII", run, round, index) + (b"m" if of_model else b"")


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
    kind = payload.WhichOneof("body")
    if kind is None:
        return Rejected(DropReason.BAD_PAYLOAD)
    fragment = getattr(payload, kind)
    if not fragment.values or not fragment.round:
        return Rejected(DropReason.BAD_FRAGMENT)
    return Fragment(fragment.run, fragment.round, fragment.index, fragment.values, kind == "model")
