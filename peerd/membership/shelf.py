"""Records in the order of their keys, and what can be said of them all. Sans-IO."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import Counter, deque

from peerd.membership.records import ID_BYTES, Kind, Record

RECENT = 16


class Shelf:
    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}
        self._keys: list[bytes] = []
        """In order, and so by kind."""
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
        if record.key not in self._records:
            insort(self._keys, record.key)
            self._counts[record.kind] += 1
        self._records[record.key] = record
        self._recent.append(record.key)
        self._hash = None

    def pop(self, key: bytes) -> Record | None:
        record = self._records.pop(key, None)
        if record is not None:
            del self._keys[bisect_left(self._keys, key)]
            self._counts[record.kind] -= 1
            self._hash = None
        return record

    def count(self, kind: Kind) -> int:
        return self._counts[kind]

    def all(self) -> list[Record]:
        """In order of dependency."""
        return [self._records[key] for key in self._keys]

    def of(self, kind: Kind) -> list[Record]:
        first = bisect_left(self._keys, bytes((kind,)))
        last = bisect_left(self._keys, bytes((kind + 1,)))
        return [self._records[key] for key in self._keys[first:last]]

    def versions(self, from_: bytes, until: bytes) -> list[tuple[bytes, int]]:
        """(key, version) in order, from a key to before another; empty: from the beginning, to the end."""
        first = bisect_left(self._keys, from_)
        last = bisect_left(self._keys, until) if until else len(self._keys)
        return [(key, self._records[key].version) for key in self._keys[first:last]]

    def summary(self) -> bytes:
        """16 bytes: the hash of all keys and versions in order."""
        if self._hash is None:
            said = b"".join(key + version.to_bytes(8, "big") for key, version in self.versions(b"", b""))
            self._hash = hashlib.sha256(said).digest()[:ID_BYTES]
        return self._hash

    def recent(self) -> list[bytes]:
        """Keys of what came last, the newest first."""
        return list(reversed(self._recent))
