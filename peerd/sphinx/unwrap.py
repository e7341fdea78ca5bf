"""A hop's side: take one layer off a packet and say what is to be done with it.

The order is that of the cost: size, point, one multiplication, the header's MAC, the command; only
then the body, and the second multiplication only for a packet that goes on. The replay filter comes
after this and before anything is done with the result.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from peerd.sphinx.commands import DeliverHere, ForwardTo, ReplyTo, decode
from peerd.sphinx.core import peel, reblind
from peerd.sphinx.geometry import Geometry
from peerd.sphinx.group import ELEMENT_BYTES
from peerd.sphinx.keys import MixKey
from peerd.sphinx.params import KEY_BYTES, HopKeys, lioness_decrypt
from peerd.types import DropReason, PeerId


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass `packet` on to `next_hop` after `delay` seconds (the sender's wish, 0 to 4295)."""

    tag: bytes
    """Replay tag, 16 bytes, the same for the same header and mix key."""
    next_hop: PeerId
    delay: float
    packet: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message for this peer, `Geometry.message_bytes` long."""

    tag: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class SurbReply:
    """An answer to a SURB of this peer; `SurbKeys.open` reads the body."""

    tag: bytes
    surb_id: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """BAD_SIZE, LOW_ORDER, BAD_MAC, BAD_COMMAND or, at the recipient only, BAD_BODY."""

    reason: DropReason


Unwrapped = Forward | Deliver | SurbReply | Rejected


def unwrap(geometry: Geometry, key: MixKey, packet: bytes) -> Unwrapped:
    """Any bytes; never raises."""
    if len(packet) != geometry.packet_bytes:
        return Rejected(DropReason.BAD_SIZE)
    params = geometry.params
    body_start = geometry.header_bytes
    gamma_start = body_start - KEY_BYTES
    alpha = packet[:ELEMENT_BYTES]
    beta = packet[ELEMENT_BYTES:gamma_start]
    layer = peel(params, key.exponent, alpha, beta, packet[gamma_start:body_start])
    if isinstance(layer, DropReason):
        return Rejected(layer)
    command = decode(layer.routing)
    if command is None:
        return Rejected(DropReason.BAD_COMMAND)
    keys = layer.keys
    long_start = body_start + KEY_BYTES
    short, long = lioness_decrypt(keys.pi, packet[body_start:long_start], packet[long_start:])
    match command:
        case ForwardTo(peer, delay):
            parts = (reblind(params, alpha, layer), layer.beta, layer.gamma, short, long)
            return Forward(keys.tau, peer, delay, b"".join(parts))
        case ReplyTo(surb_id):
            return SurbReply(keys.tau, surb_id, short + long)
        case DeliverHere():
            return _deliver(geometry, keys, short, long)


def _deliver(geometry: Geometry, keys: HopKeys, mac: bytes, payload: bytes) -> Deliver | Rejected:
    prefix, suffix = geometry.payload_prefix, geometry.payload_suffix
    whole = hmac.compare_digest(mac, geometry.params.mu(keys.pi, payload))
    if not (whole and payload.startswith(prefix) and payload.endswith(suffix)):
        return Rejected(DropReason.BAD_BODY)
    start = len(prefix)
    return Deliver(keys.tau, payload[start : start + geometry.message_bytes])
