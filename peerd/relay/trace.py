"""The complete truth about every packet, for experiments: `Mixnet` tells a `Tracer` if it is given one.

A trace undoes anonymity by design. From all peers' traces together one sees what a global passive
adversary sees (`Left`: who handed a cell to whom, and when; `Came`: when it arrived) and, to judge the
adversary's guesses by, what it must not see (`Left.kind`, `Opened`). Packets are named by a hash of
their bytes, which differs on every link.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

from peerd.types import PacketKind, PeerId

ID_BYTES = 8
Fate = Literal["forward", "deliver", "reply"]


def packet_id(packet: bytes) -> bytes:
    """8 bytes; collisions within one experiment are out of the question."""
    return hashlib.blake2b(packet, digest_size=ID_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Left:
    """A packet was handed to a link. Seen by the adversary, but for `kind`."""

    at: float
    """Seconds of one clock for all peers."""
    peer: PeerId
    to: PeerId
    packet: bytes
    """Its `packet_id`."""
    kind: PacketKind


@dataclass(frozen=True, slots=True)
class Came:
    """A packet came by a link. Seen by the adversary."""

    at: float
    peer: PeerId
    packet: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """What a packet that came became. Hidden from the adversary, unless the mix node is its own."""

    at: float
    peer: PeerId
    packet: bytes
    fate: Fate
    """deliver: a message (own, loop, drop or dummy at its sender) ended here; reply: an acknowledgement."""
    next_packet: bytes = b""
    """The `packet_id` of what goes on; of a message, that of its acknowledgement, if it gets one."""


Record = Left | Came | Opened


class Tracer(Protocol):
    def __call__(self, record: Record) -> None: ...
