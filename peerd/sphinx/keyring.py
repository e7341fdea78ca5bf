"""The mix keys of a peer, one for each epoch, and which of them unwrap now. Sans-IO.

    epoch e-1                  epoch e                        epoch e+1
    ------------ key e-1 ----------+--grace--|
                         |--grace--+---------- key e -------------+--grace--|
                                                         |--grace--+---- key e+1

A key is made and published an epoch before its own. It is accepted from `grace` seconds before its epoch
(the clocks of two peers differ) until `grace` seconds after it (packets in flight, SURBs); then it is
destroyed, and its replay filter with it. What was recorded on a wire before that cannot be unwrapped by
anyone any more (forward secrecy).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from peerd.sphinx.geometry import Geometry
from peerd.sphinx.keys import MixKey
from peerd.sphinx.replay import ReplayFilter
from peerd.sphinx.unwrap import Rejected, Unwrapped, unwrap
from peerd.types import DropReason

DIGITS = 12
"""Of expected false positives: far below what one tag adds."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """A network's division of time: `seconds` an epoch, counted from the Unix epoch; `grace` <= `seconds`."""

    seconds: float
    grace: float

    def at(self, wall: float) -> int:
        """The epoch at a Unix time in seconds: begins(epoch) <= wall < begins(epoch + 1), also where the
        division is rounded across a boundary."""
        epoch = math.floor(wall / self.seconds)
        if self.begins(epoch + 1) <= wall:
            return epoch + 1
        return epoch if self.begins(epoch) <= wall else epoch - 1

    def begins(self, epoch: int) -> float:
        return epoch * self.seconds

    def accepted(self, wall: float) -> tuple[int, ...]:
        """The epochs whose keys are accepted, the likeliest first."""
        now = self.at(wall)
        before = (now - 1,) if wall < self.begins(now) + self.grace else ()
        after = (now + 1,) if wall >= self.begins(now + 1) - self.grace else ()
        return (now, *before, *after)

    def next_change(self, wall: float) -> float:
        """When `accepted` will give something else."""
        now = self.at(wall)
        begin, end = self.begins(now), self.begins(now + 1)
        return min(moment for moment in (begin + self.grace, end - self.grace, end) if moment > wall)


@dataclass(slots=True, eq=False)
class EpochKey:
    """One epoch's key with the tags of all packets that it has unwrapped."""

    epoch: int
    key: MixKey
    replay: ReplayFilter


class Keyring:
    """At most a few keys; the wrong ones cost a packet one multiplication each."""

    def __init__(self) -> None:
        self._keys: dict[int, EpochKey] = {}
        self._accepted: tuple[EpochKey, ...] = ()
        self._expected_before = 0.0
        """Of keys that are gone, less what the filters said when they came."""

    def __iter__(self) -> Iterator[EpochKey]:
        return iter(self._keys.values())

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._keys

    def __getitem__(self, epoch: int) -> EpochKey:
        return self._keys[epoch]

    def holds(self, key: EpochKey) -> bool:
        """Whether it is this very key that the ring has for its epoch."""
        return self._keys.get(key.epoch) is key

    @property
    def accepted(self) -> tuple[int, ...]:
        """The epochs whose keys unwrap now."""
        return tuple(key.epoch for key in self._accepted)

    @property
    def expected_false_positives(self) -> float:
        """Upper bound of how many fresh packets, on average, were refused as replays since this ring was
        made, also by keys that are gone: it never falls. Tags that came with a key were counted already."""
        expected = self._expected_before
        for key in self:
            expected += key.replay.expected_false_positives
        return max(0.0, round(expected, DIGITS))  # or the order of the additions would let it fall by a bit

    def put(self, key: EpochKey) -> None:
        """A key that may be accepted later. One that it replaces is destroyed."""
        self.forget(key.epoch)
        self._expected_before -= key.replay.expected_false_positives
        self._keys[key.epoch] = key

    def accept(self, epochs: tuple[int, ...]) -> None:
        """Unwrap with the keys of these epochs, in this order."""
        self._accepted = tuple(self._keys[epoch] for epoch in epochs if epoch in self._keys)

    def forget(self, epoch: int) -> None:
        """Destroy a key and its tags: no reference to either is left here."""
        gone = self._keys.pop(epoch, None)
        if gone is not None:
            self._expected_before += gone.replay.expected_false_positives
        self._accepted = tuple(key for key in self._accepted if key is not gone)

    def unwrap(self, geometry: Geometry, packet: bytes) -> tuple[EpochKey, Unwrapped]:
        """Any bytes: what they are, and by which key. Rejected where no key fits; never raises
        once a key is accepted."""
        first = self._accepted[0]
        unwrapped = unwrap(geometry, first.key, packet)
        if not _wrong_key(unwrapped):
            return first, unwrapped
        for other in self._accepted[1:]:
            tried = unwrap(geometry, other.key, packet)
            if not _wrong_key(tried):
                return other, tried
        return first, unwrapped


def _wrong_key(unwrapped: Unwrapped) -> bool:
    """A header for another key has a wrong MAC; so has one that was tampered with."""
    return isinstance(unwrapped, Rejected) and unwrapped.reason is DropReason.BAD_MAC
