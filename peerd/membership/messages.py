"""The four things that gossip says, each cut so that it fits a cell. Sans-IO.

What comes from a neighbour is checked for its form here; what a record in it says is another matter.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from peerd.membership.records import ID_BYTES, KEY_BYTES, join_records, varint
from peerd.pb import gossip_pb2

_FRAME_BYTES = 4
"""The field of Gossip around its body: a tag, and a length below 2**21."""
_RANGE_BYTES = 2 * (2 + KEY_BYTES)
_KEY_FIELD_BYTES = 2 + KEY_BYTES


@dataclass(frozen=True, slots=True)
class Summary:
    hash: bytes
    sent_at: float
    """Unix time by the sender's clock, seconds."""


@dataclass(frozen=True, slots=True)
class Digest:
    from_: bytes
    until: bytes
    """Of the keys from `from_` to before `until` (empty: no bound) the sender knows these and no others."""
    known: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Records:
    encoded: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What only later versions of peerd say: passed over."""


Message: TypeAlias = Summary | Digest | Wanted | Records | Unknown


def decode(data: bytes) -> Message | None:
    """None for any bytes that are not well-formed gossip."""
    try:
        gossip = gossip_pb2.Gossip.FromString(data)
    except DecodeError:
        return None
    match gossip.WhichOneof("body"):
        case "summary" if len(gossip.summary.hash) == ID_BYTES:
            return Summary(gossip.summary.hash, gossip.summary.sent_at_ms / 1000)
        case "digest":
            digest = getattr(gossip.digest, "from"), gossip.digest.until
            known = tuple([(known.key, known.version) for known in gossip.digest.known])
            return Digest(*digest, known) if _is_range(*digest, [key for key, _ in known]) else None
        case "wanted" if all(len(key) == KEY_BYTES for key in gossip.wanted.keys):
            return Wanted(tuple(gossip.wanted.keys))
        case "records":
            records = gossip.records.records
            return Records(tuple(record.SerializeToString(deterministic=True) for record in records))
        case None if len(UnknownFieldSet(gossip)) == 1:
            return Unknown()
    return None


def encode_summary(digest: bytes, wall: float) -> bytes:
    summary = gossip_pb2.Summary(hash=digest, sent_at_ms=max(round(wall * 1000), 0))
    return _encode(gossip_pb2.Gossip(summary=summary))


def encode_digests(known: Sequence[tuple[bytes, int]], cell_bytes: int) -> list[tuple[bytes, bytes]]:
    """(from, cell) for each of the ranges into which all that is known is cut; in order, without a gap."""
    chunks: list[list[tuple[bytes, int]]] = [[]]
    room = free = cell_bytes - _FRAME_BYTES - _RANGE_BYTES
    for key, version in known:
        size = 2 + _KEY_FIELD_BYTES + 1 + len(varint(version))
        if size > free and chunks[-1]:
            chunks.append([])
            free = room
        chunks[-1].append((key, version))
        free -= size
    bounds = [b"", *(chunk[0][0] for chunk in chunks[1:]), b""]
    cells = []
    for chunk, (from_, until) in zip(chunks, pairwise(bounds), strict=True):
        entries = [gossip_pb2.Known(key=key, version=version) for key, version in chunk]
        digest = gossip_pb2.Digest(until=until, known=entries, **{"from": from_})
        cells.append((from_, _encode(gossip_pb2.Gossip(digest=digest))))
    return cells


def encode_wanted(keys: Sequence[bytes], cell_bytes: int) -> list[bytes]:
    """As many cells as it takes."""
    room = max((cell_bytes - _FRAME_BYTES) // _KEY_FIELD_BYTES, 1)
    return [
        _encode(gossip_pb2.Gossip(wanted=gossip_pb2.Wanted(keys=keys[start : start + room])))
        for start in range(0, len(keys), room)
    ]


def encode_records(records: Iterable[bytes], cell_bytes: int, limit: int) -> list[bytes]:
    """At most so many cells, each as full as the order allows; a record that fits no cell is left out."""
    cells: list[list[bytes]] = []
    room = cell_bytes - _FRAME_BYTES
    free = 0
    for encoded in records:
        size = record_bytes(encoded)
        if size > room:
            continue
        if size > free:
            if len(cells) == limit:
                break
            cells.append([])
            free = room
        cells[-1].append(encoded)
        free -= size
    return [b"\x22" + varint(len(body)) + body for body in map(join_records, cells)]


def record_bytes(encoded: bytes) -> int:
    """What a record takes of a cell."""
    return 1 + len(varint(len(encoded))) + len(encoded)


def fits(encoded: bytes, cell_bytes: int) -> bool:
    """Whether a cell has room for the record: else it cannot spread."""
    return record_bytes(encoded) <= cell_bytes - _FRAME_BYTES


def _is_range(from_: bytes, until: bytes, keys: list[bytes]) -> bool:
    """Whether the bounds and all keys between them are keys, in order, none twice."""
    bounds = [bound for bound in (from_, until) if bound]
    if not set(map(len, (*bounds, *keys))) <= {KEY_BYTES} or (until and from_ >= until):
        return False
    if keys and (keys[0] < from_ or (until and keys[-1] >= until)):
        return False
    return all(map(operator.lt, keys, keys[1:]))


def _encode(gossip: gossip_pb2.Gossip) -> bytes:
    return bytes(gossip.SerializeToString(deterministic=True))
