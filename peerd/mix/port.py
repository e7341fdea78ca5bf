"""The port of all mixing strategies.

A strategy holds packets and says which leave when. It is sans-IO: `now` (seconds, monotonic) and
randomness are handed in, packets come out of `due`, and `next_deadline` says when to ask again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from peerd.types import DropReason, PacketKind, PeerId


@dataclass(slots=True, eq=False)
class Queued:
    """A packet at a mix node. Compared by identity: two packets are never 'equal'."""

    packet: bytes
    next_hop: PeerId
    kind: PacketKind
    delay: float
    """Seconds that its sender asked for; strategies that choose delays themselves ignore it."""
    token: object | None = None
    """Whom to tell when it departs; opaque here."""


@dataclass(frozen=True, slots=True)
class CoverWanted:
    """The strategy has a slot and nothing to put in it: send one drop-cover packet now."""


Departure = Queued | CoverWanted


class Strategy(Protocol):
    """Batching, pool, stop-and-go and constant-rate mixes all fit behind these five methods."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    def push(self, item: Queued, now: float) -> DropReason | None:
        """Take a packet in; MIX_QUEUE_FULL when the limit is reached (the packet is not kept)."""

    def due(self, now: float) -> list[Departure]:
        """What departs now, in the order of departure."""

    def next_deadline(self) -> float | None:
        """When `due` has something again; None while only a `push` can change that."""

    def drain(self, now: float) -> list[Queued]:
        """Give up everything held, for a switch to another strategy: nothing is lost.

        Each packet's `delay` is what remains of it at `now`.
        """

    def __len__(self) -> int:
        """Packets held."""
