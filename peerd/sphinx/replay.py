"""The replay filter of one mix key: has a packet with this tag been here before?

A chain of Bloom filters (rbloom). The first holds 2**20 tags, each next one twice as many as the
one before, so that a young or quiet peer does not pay for the capacity of a busy one. A Bloom
filter never forgets: no replay passes. It errs the other way, and a fresh packet is then dropped as
a replay; all filters of the chain together do so with a probability of at most 1e-6.

Memory: 4.1 bytes for each tag that the chain has room for (4.1 MB per million tags) at the default
capacity of 64 million, 3.6 where one filter is enough, 4.2 at a thousand million. An empty filter
takes 4.3 MB, a full one of 64 million tags 260 MB; it has then refused some 50 fresh packets.

The filters hash with Python's own keyed hash (SipHash, a fresh key for each process). Senders know
their packets' tags; without the key they cannot choose tags that fill the filter sooner than others
do. It also means that a filter is not stored: the tags are, and come back through `load`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from rbloom import Bloom

from peerd.types import DropReason

FIRST_FILTER_TAGS = 2**20
FALSE_POSITIVE_RATE = 1e-6
"""For the whole chain, when it is full."""
LOAD_TAGS = 65_536
"""Tags that `load` hands to a filter at a time: some megabytes of Python objects."""


class ReplayFilter:
    """Remembers up to `capacity` tags; when full it refuses all new ones (fails closed)."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a replay filter holds at least one tag, not {capacity}")
        self._capacity = capacity
        self._rate_per_filter = FALSE_POSITIVE_RATE / _filters_for(capacity)
        self._filters: list[Bloom] = []
        self._room = 0
        self._size = 0
        self._size_before = 0
        self._expected_before = 0.0
        self._grow()

    def __len__(self) -> int:
        return self._size

    def check_and_add(self, tag: bytes) -> DropReason | None:
        """None for a tag not seen before, which is then remembered.

        REPLAY for one seen before; REPLAY_FILTER_FULL where there is no room to remember it.
        """
        if self._has(tag):
            return DropReason.REPLAY
        if self._size >= self._capacity:
            return DropReason.REPLAY_FILTER_FULL
        self._remember(tag)
        return None

    def add(self, tag: bytes) -> None:
        """Remember a tag from the journal.

        Also beyond the capacity, which may have been lowered since: a tag that was once accepted
        must stay known. What was accepted bounds it, and the filter takes nothing new meanwhile.
        """
        if not self._has(tag):
            self._remember(tag)

    def load(self, tags: Iterable[bytes]) -> None:
        """`add` for a whole journal, whose tags are all different and not known yet: it does not ask, and
        hands rbloom many at a time (1.1 us a tag with the reading of the log, where `add` takes 2.7)."""
        waiting = iter(tags)
        while chunk := list(islice(waiting, LOAD_TAGS)):
            start = 0
            while start < len(chunk):
                start += self._remember_some(chunk[start:] if start else chunk)

    @property
    def used(self) -> float:
        """Share of the capacity; 1: it refuses all that is new."""
        return min(self._size / self._capacity, 1.0)

    @property
    def false_positive_rate(self) -> float:
        """Upper bound of the probability that a fresh tag is taken for a replay."""
        return self._rate_per_filter * len(self._filters)

    @property
    def expected_false_positives(self) -> float:
        """Upper bound of how many fresh packets, on average, were refused as replays so far: for every tag
        that was accepted, the bound at that time. Nobody can tell which of the refused ones these were."""
        return self._expected_before + (self._size - self._size_before) * self.false_positive_rate

    @property
    def memory_bytes(self) -> int:
        """Of the filters allocated so far."""
        return sum(bloom.size_in_bits // 8 for bloom in self._filters)

    def _has(self, tag: bytes) -> bool:
        return any(tag in bloom for bloom in self._filters)

    def _remember(self, tag: bytes) -> None:
        if self._room == 0:
            self._grow()
        self._filters[-1].add(tag)
        self._room -= 1
        self._size += 1

    def _remember_some(self, tags: list[bytes]) -> int:
        """As many as the last filter has room for, or the next one; how many that were."""
        if self._room == 0:
            self._grow()
        count = min(len(tags), self._room)
        self._filters[-1].update(tags if count == len(tags) else tags[:count])
        self._room -= count
        self._size += count
        return count

    def _grow(self) -> None:
        """The next filter: twice the last, but no more than is left of the capacity."""
        self._expected_before = self.expected_false_positives
        self._size_before = self._size
        size = FIRST_FILTER_TAGS << len(self._filters)
        left = self._capacity - self._size
        self._room = min(size, left) if left > 0 else size
        self._filters.append(Bloom(self._room, self._rate_per_filter))


def _filters_for(capacity: int) -> int:
    count = 1
    while FIRST_FILTER_TAGS * (2**count - 1) < capacity:
        count += 1
    return count
