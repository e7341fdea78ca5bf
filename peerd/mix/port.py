"""The port of all mixing strategies.

A strategy holds packets and says which leave when. It is sans-IO: `now` (seconds, monotonic) and
randomness are handed in, packets come out of `due`, and `next_deadline` says when to ask again.

How the strategies fit: stop-and-go keeps a heap of departures; a threshold mix has as its deadline the
moment of the push that filled the batch, or of the end of its patience; timed and pool mixes have the
next flush as their deadline and give all or a part of what they hold; without mixing the deadline is the
push itself; a constant-rate mix always has a deadline and asks for cover where it has no packet.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    arrived: float = 0.0
    """When the strategy took it in; set by the strategy."""

    def remaining(self, now: float) -> float:
        """Seconds that are left of the delay asked for; 0.0 when it has passed."""
        return max(self.arrived + self.delay - now, 0.0)


@dataclass(frozen=True, slots=True)
class CoverWanted:
    """The strategy has a slot and nothing to put in it: send one dummy now."""


Departure = Queued | CoverWanted


class Strategy(Protocol):
    """Batching, pool, stop-and-go and constant-rate mixes all fit behind these methods."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def entropy_bits(self) -> float:
        """How well the last real packets were hidden: an observer's view of this one mix node.

        Shannon entropy, in bits, of the answer to "which of the packets that came in is this one?" for
        each real packet of the last `due` that returned one; the mean where they differ. 0.0 before
        the first. Dummies that fill slots count for nothing: the next peer knows them.
        """

    def push(self, item: Queued, now: float) -> DropReason | None:
        """Take a packet in; MIX_QUEUE_FULL when the limit is reached (the packet is not kept).

        Nothing leaves by a push: ask `next_deadline` afterwards, it may be `now`.
        """

    def adopt(self, items: Iterable[Queued], now: float) -> None:
        """Take over what another strategy gave up in `drain`, also beyond the limit.

        A live switch loses nothing, even to a lower limit; pushes are refused until there is room.
        """

    def due(self, now: float) -> list[Departure]:
        """What departs now, in the order of departure. May be called at any time."""

    def next_deadline(self) -> float | None:
        """When `due` has something again, `now` or earlier if at once; None until a `push`."""

    def drain(self, now: float) -> list[Queued]:
        """Give up everything held, for a switch to another strategy: nothing is lost.

        Each packet's `delay` becomes what remains of it at `now`.
        """

    def __len__(self) -> int:
        """Packets held."""
