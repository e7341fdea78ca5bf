"""Routing commands: what a header tells a hop. Fixed sizes, read without a decoder.

    forward   flag | peer id (16) | delay in microseconds (4, big-endian)
    deliver   flag
    reply     flag | SURB id (16)

sphinxmix puts a length byte before each; its own commands are msgpack, which we take from nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerd.types import PEER_ID_BYTES, PeerId

SURB_ID_BYTES = 16
DELAY_BYTES = 4
MAX_DELAY_SECONDS = (2**32 - 1) / 1e6
"""About 71 minutes."""

_FORWARD = b"\xf0"
_DELIVER = b"\xf1"
_REPLY = b"\xf2"
_FORWARD_BYTES = 1 + PEER_ID_BYTES + DELAY_BYTES
_REPLY_BYTES = 1 + SURB_ID_BYTES

LENGTH_BYTES = 1
"""sphinxmix's length prefix."""
PACKED_FORWARD_BYTES = LENGTH_BYTES + _FORWARD_BYTES
PACKED_FINAL_BYTES = LENGTH_BYTES + _REPLY_BYTES
"""The longer of the two final commands: a header has room for either."""


@dataclass(frozen=True, slots=True)
class ForwardTo:
    peer: PeerId
    delay: float
    """Seconds, in steps of a microsecond."""


@dataclass(frozen=True, slots=True)
class ReplyTo:
    surb_id: bytes


@dataclass(frozen=True, slots=True)
class DeliverHere:
    pass


Command = ForwardTo | DeliverHere | ReplyTo
DELIVER_HERE = DeliverHere()


def encode(command: Command) -> bytes:
    """Delays are rounded to microseconds and clamped to 0 .. `MAX_DELAY_SECONDS`."""
    match command:
        case ForwardTo(peer, delay):
            micros = round(min(max(delay, 0.0), MAX_DELAY_SECONDS) * 1e6)
            return _FORWARD + peer + micros.to_bytes(DELAY_BYTES, "big")
        case ReplyTo(surb_id):
            return _REPLY + surb_id
        case DeliverHere():
            return _DELIVER


def decode(routing: bytes) -> Command | None:
    """Any bytes; None where they are no command."""
    flag, size = routing[:1], len(routing)
    if flag == _FORWARD and size == _FORWARD_BYTES:
        micros = int.from_bytes(routing[-DELAY_BYTES:], "big")
        return ForwardTo(PeerId(routing[1:-DELAY_BYTES]), micros / 1e6)
    if flag == _REPLY and size == _REPLY_BYTES:
        return ReplyTo(routing[1:])
    return DELIVER_HERE if routing == _DELIVER else None
