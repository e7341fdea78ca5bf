"""What really became of every fragment: the simulator knows whose is whose, and nobody else does.

`faults` lists every breach of what delivery and rounds promise:

    a message is settled once: acknowledged, given up, dropped with a reason, or refused at once
    what is acknowledged has been delivered
    what is averaged is of this run, of the round that it names, and is averaged once
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peerd.learning import Fragment, fragment_place
from peerd.types import DropReason, PeerId

PLACE_BYTES = struct.calcsize(">QII")
NOBODY = PeerId(b"")
"""Has sent a slice of a model, which all have."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of a fragment, whatever its values are."""

    sender: PeerId
    run: int
    round: int
    index: int
    of_model: bool = False

    @classmethod
    def of(cls, sender: PeerId, payload: bytes) -> Place:
        """Of a fragment in its payload."""
        place = fragment_place(payload)
        of_model = len(place) > PLACE_BYTES
        run, round, index = struct.unpack_from(">QII", place)
        return cls(NOBODY if of_model else sender, run, round, index, of_model)


@dataclass(frozen=True, slots=True)
class _Letter:
    life: int
    to: PeerId
    place: Place


class Ledger:
    """A life is the number of a daemon; a collection that of one run on one daemon."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.outcomes: Counter[str] = Counter()
        """How messages ended: acked, or the reason."""
        self._places: dict[bytes, Place] = {}
        self._open: dict[int, _Letter] = {}
        self._numbers: dict[_Letter, int] = {}
        self._sent = 0
        self._collections = 0
        self._delivered: set[tuple[PeerId, Place]] = set()
        self._averaged: dict[int, dict[Place, bytes]] = {}
        self._slices: dict[int, dict[int, dict[int, list[bytes]]]] = {}

    def new_collection(self) -> int:
        self._collections += 1
        return self._collections

    def sends(self, life: int, sender: PeerId, to: PeerId, payload: bytes) -> int:
        """A message is to be sent; its number. That of one on its way is the same."""
        place = Place.of(sender, payload)
        if self._places.setdefault(payload, place) != place:
            self.faults.append(f"two fragments with the same bytes: {place}, {self._places[payload]}")
        letter = _Letter(life, to, place)
        if letter not in self._numbers:
            self._sent += 1
            self._open[self._sent] = letter
            self._numbers[letter] = self._sent
        return self._numbers[letter]

    def settles(self, number: int, reason: DropReason | None) -> None:
        """It was acknowledged (None), or is not sent any more."""
        letter = self._open.pop(number, None)
        if letter is None:
            self.faults.append(f"message {number} is settled twice: {reason}")
            return
        del self._numbers[letter]
        self.outcomes["acked" if reason is None else reason.value] += 1
        if reason is None and (letter.to, letter.place) not in self._delivered:
            self.faults.append(f"acknowledged and not delivered: {letter}")

    def delivers(self, to: PeerId, payload: bytes) -> None:
        place = self._places.get(payload)
        if place is None:
            self.faults.append(f"{to.hex()[:8]} was given what nobody has sent")
        else:
            self._delivered.add((to, place))

    def averages(self, collection: int, run: int, payload: bytes, fragment: Fragment) -> None:
        """A recipient has taken it into the mean of its round."""
        if fragment.of_model:
            slices = self._slices.setdefault(collection, {}).setdefault(fragment.round, {})
            slices.setdefault(fragment.index, []).append(fragment.data)
            return
        place = self._places.get(payload)
        if place is None or (place.run, place.round, place.index) != (run, fragment.round, fragment.index):
            self.faults.append(f"collection {collection} averages {fragment}, sent as {place}")
        elif place in self._averaged.setdefault(collection, {}):
            self.faults.append(f"collection {collection} averages twice: {place}")
        else:
            self._averaged[collection][place] = fragment.data

    def averaged(self, collection: int) -> Mapping[Place, bytes]:
        """All that a collection has taken in, encoded."""
        return self._averaged.get(collection, {})

    def slices(self, collection: int, round: int) -> Mapping[int, Sequence[bytes]]:
        """All that a collection has taken in of the model that the round starts from, by index."""
        return self._slices.get(collection, {}).get(round, {})

    def open(self, life: int) -> int:
        """Messages of a daemon of which nothing is known yet."""
        return sum(letter.life == life for letter in self._open.values())
