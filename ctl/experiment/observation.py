"""What a watcher of every wire sees, and, kept apart from it, what he would like to know.

Records of all peers (`peerd.relay.trace`) become two tables with one row a cell, in the order of sending.
An adversary is handed an `Observation` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from peerd.relay.trace import Came, Left, Opened, Record
from peerd.types import PacketKind, PeerId

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NOWHERE = -1
KINDS = tuple(PacketKind)


@dataclass(frozen=True)
class Observation:
    """Every cell on every link; all columns have n rows, sorted by `sent_at`. All cells have one size."""

    peers: int
    """Peers are numbered from 0."""
    sent_at: Floats
    """Seconds since the first record."""
    arrived_at: Floats
    """Seconds; infinite for a cell that never came."""
    src: Ints
    dst: Ints

    @property
    def cells(self) -> int:
        return len(self.sent_at)

    @cached_property
    def ends_at(self) -> float:
        """The last moment that was watched."""
        finite = self.arrived_at[np.isfinite(self.arrived_at)]
        return float(max(finite.max(initial=0.0), self.sent_at.max(initial=0.0)))

    def leaving(self, node: int) -> Ints:
        """Cells that the node sent, by time of sending."""
        return np.flatnonzero(self.src == node)

    def entering(self, node: int) -> Ints:
        """Cells that came to the node, by time of arrival."""
        found = np.flatnonzero((self.dst == node) & np.isfinite(self.arrived_at))
        return found[np.argsort(self.arrived_at[found], kind="stable")]


@dataclass(frozen=True)
class Truth:
    """What the cells were; n rows as in the Observation. Never given to an adversary whole."""

    parent: Ints
    """The cell that it was made from at its src; NOWHERE where it originated there."""
    kind: Ints
    """Index into KINDS, of the packet that originated: a forwarded cell has that of its first link."""
    delivered: Bools
    """A message ended with this cell at its dst (fate `deliver`)."""
    origin: Ints
    """The first cell of the packet's way; NOWHERE where it cannot be followed (the trace began later)."""
    sender: Ints
    """The src of that; NOWHERE likewise."""
    answer: Ints
    """The acknowledgement that its dst sent for it, where the trace tells it; else NOWHERE."""

    @cached_property
    def child(self) -> Ints:
        """The cell that was made from it at its dst; NOWHERE where it ended there (or was dropped)."""
        child = np.full(len(self.parent), NOWHERE)
        made = np.flatnonzero(self.parent != NOWHERE)
        child[self.parent[made]] = made
        return child

    def challenges(self) -> Ints:
        """The last cells of delivered own messages: each brought its recipient a fragment."""
        own = self.kind == KINDS.index(PacketKind.OWN)
        return np.flatnonzero(self.delivered & own & (self.sender != NOWHERE))


@dataclass(frozen=True)
class CorruptView:
    """What the adversary's own mix nodes know: which of their outputs came from which input."""

    corrupt: Bools
    """By peer."""
    parent: Ints
    """n rows; right for cells that a corrupt node sent, NOWHERE for all others."""

    @classmethod
    def of(cls, observation: Observation, truth: Truth, corrupt: Sequence[int]) -> CorruptView:
        mask = np.zeros(observation.peers, dtype=bool)
        mask[list(corrupt)] = True
        return cls(mask, np.where(mask[observation.src], truth.parent, NOWHERE))


def observe(records: Iterable[Record], ids: Sequence[PeerId]) -> tuple[Observation, Truth]:
    """All peers' records, in any order; `ids[i]` is peer number i."""
    number = {peer: index for index, peer in enumerate(ids)}
    left: list[Left] = []
    came: dict[bytes, float] = {}
    opened: list[Opened] = []
    for record in records:
        match record:
            case Left():
                left.append(record)
            case Came(at=at, packet=packet):
                came.setdefault(packet, at)
            case Opened():
                opened.append(record)
    left.sort(key=lambda one: one.at)
    row = {one.packet: index for index, one in enumerate(left)}
    start = min([one.at for one in left[:1]] + list(came.values()), default=0.0)
    observation = Observation(
        peers=len(ids),
        sent_at=np.array([one.at for one in left], dtype=float) - start,
        arrived_at=np.array([came.get(one.packet, np.inf) for one in left], dtype=float) - start,
        src=np.array([number[one.peer] for one in left], dtype=np.int64),
        dst=np.array([number[one.to] for one in left], dtype=np.int64),
    )
    kinds = np.array([KINDS.index(one.kind) for one in left], dtype=np.int64)
    return observation, _truth(observation, kinds, opened, row)


def _truth(observation: Observation, kinds: Ints, opened: list[Opened], row: dict[bytes, int]) -> Truth:
    n = observation.cells
    parent, answer = np.full(n, NOWHERE), np.full(n, NOWHERE)
    delivered = np.zeros(n, dtype=bool)
    for one in opened:
        cell, following = row.get(one.packet, NOWHERE), row.get(one.next_packet, NOWHERE)
        if one.fate == "forward" and following != NOWHERE:
            parent[following] = cell
        elif one.fate == "deliver" and cell != NOWHERE:
            delivered[cell] = True
            answer[cell] = following
    root = np.arange(n)
    while (on_the_way := parent[root] != NOWHERE).any():
        root = np.where(on_the_way, parent[root], root)
    known = kinds[root] != KINDS.index(PacketKind.FORWARDED)
    origin = np.where(known, root, NOWHERE)
    sender = np.where(known, observation.src[root], NOWHERE)
    return Truth(parent, kinds[root], delivered, origin, sender, answer)
