"""Records in the order of their keys, and what can be said of them all. Sans-IO."""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left, insort
from collections import Counter, deque

from peerd.membership.records import ID_BYTES, Kind, Record

RECENT = 16


class Shelf:
    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}
        self._known: list[tuple[bytes, int]] = []
        """Keys and versions in order, and so by kind."""
        self._counts: Counter[Kind] = Counter()
        self._recent: deque[bytes] = deque(maxlen=RECENT)
        self._hash: bytes | None = None

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: bytes) -> bool:
        return key in self._records

    def get(self, key: bytes) -> Record | None:
        return self._records.get(key)

    def put(self, record: Record) -> None:
        """In the place of an earlier one of the same key."""
        known = (record.key, record.version)
        if record.key in self._records:
            self._known[self._position(record.key)] = known
        else:
            insort(self._known, known)
            self._counts[record.kind] += 1
        self._records[record.key] = record
        self._recent.append(record.key)
        self._hash = None

    def pop(self, key: bytes) -> Record | None:
        record = self._records.pop(key, None)
        if record is not None:
            del self._known[self._position(key)]
            self._counts[record.kind] -= 1
            self._hash = None
        return record

    def count(self, kind: Kind) -> int:
        return self._counts[kind]

    def all(self) -> list[Record]:
        """In order of dependency."""
        return [self._records[key] for key, _ in self._known]

    def of(self, kind: Kind) -> list[Record]:
        known = self.versions(bytes((kind,)), bytes((kind + 1,)))
        return [self._records[key] for key, _ in known]

    def versions(self, from_: bytes, until: bytes) -> list[tuple[bytes, int]]:
        """(key, version) in order, from a key to before another; empty: from the beginning, to the end."""
        last = self._position(until) if until else len(self._known)
        return self._known[self._position(from_) : last]

    def summary(self) -> bytes:
        """16 bytes: the hash of all keys in order and then their versions (8 bytes each, big-endian)."""
        if self._hash is None:
            keys = b"".join([key for key, _ in self._known])
            versions = struct.pack(f">{len(self._known)}Q", *[version for _, version in self._known])
            self._hash = hashlib.sha256(keys + versions).digest()[:ID_BYTES]
        return self._hash

    def recent(self) -> list[bytes]:
        """Keys of what came last, the newest first."""
        return list(reversed(self._recent))

    def _position(self, key: bytes) -> int:
        """Where the key is, or would be."""
        return bisect_left(self._known, (key, -1))
