"""What delivery tells its driver. Consumed with `match`."""

from __future__ import annotations

from dataclasses import dataclass

from peerd.types import DropReason, PacketKind, PeerId


@dataclass(frozen=True, slots=True)
class Inject:
    """Hand this packet to the relay: it waits `delay` seconds like any other, then goes out."""

    packet: bytes
    first_hop: PeerId
    kind: PacketKind
    delay: float
    token: bytes | None = None
    """Report the departure with it (`Delivery.departed`); None: nobody asks."""
    resend: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A message for us, seen for the first time; its acknowledgement is on its way."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Acked:
    """The recipient has the message. `rtt`: seconds from the departure of the attempt it answers."""

    tag: int
    rtt: float
    attempts: int


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Not acknowledged in `max_attempts`, or (reason says so) dropped before that."""

    tag: int
    reason: DropReason


@dataclass(frozen=True, slots=True)
class LoopReturned:
    """Loop cover came home after `rtt` seconds."""

    rtt: float


@dataclass(frozen=True, slots=True)
class LoopLost:
    """Loop cover did not come home in time."""


@dataclass(frozen=True, slots=True)
class Dropped:
    reason: DropReason


Event = Inject | Received | Acked | GaveUp | LoopReturned | LoopLost | Dropped
