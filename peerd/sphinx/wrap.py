"""The sender's side: a message for a recipient, in layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from peerd.sphinx.commands import DELIVER_HERE, Command, ForwardTo, encode
from peerd.sphinx.core import Header, create_header
from peerd.sphinx.geometry import Geometry
from peerd.sphinx.group import SCALAR_BYTES, RandomBytes
from peerd.sphinx.params import lioness_encrypt
from peerd.types import PEER_ID_BYTES, PeerId


class Hop(NamedTuple):
    """A mix node of a path, or at its end the recipient."""

    peer: PeerId
    key: bytes
    """Public mix key, 32 bytes."""
    delay: float
    """Seconds that this node waits before it forwards; of no effect at the recipient."""


def wrap(
    geometry: Geometry,
    path: Sequence[Hop],
    message: bytes,
    *,
    randbytes: RandomBytes = os.urandom,
) -> bytes:
    """A packet for `path[0]`, of which `path[-1]` gets the message.

    The message is exactly `geometry.message_bytes` long. Raises ValueError where it is not, for a
    path of no or too many hops, and for a key that is no usable point (`is_public_mix_key`).
    """
    if len(message) != geometry.message_bytes:
        raise ValueError(f"a message is {geometry.message_bytes} bytes long, not {len(message)}")
    header, body_keys = header_for(geometry, path, DELIVER_HERE, randbytes)
    long = b"".join((geometry.payload_prefix, message, geometry.payload_suffix))
    short = geometry.params.mu(body_keys[-1], long)
    for key in reversed(body_keys):
        short, long = lioness_encrypt(key, short, long)
    return b"".join((*header, short, long))


def header_for(
    geometry: Geometry, path: Sequence[Hop], final: Command, randbytes: RandomBytes
) -> tuple[Header, list[bytes]]:
    """The header along a path, and the body key of every hop. Raises ValueError as `wrap` does."""
    if not 1 <= len(path) <= geometry.max_hops + 1:
        raise ValueError(f"a path has 1 to {geometry.max_hops + 1} hops, not {len(path)}")
    if any(len(hop.peer) != PEER_ID_BYTES for hop in path):
        raise ValueError(f"a peer id is {PEER_ID_BYTES} bytes long")
    commands = [encode(ForwardTo(after.peer, hop.delay)) for hop, after in pairwise(path)]
    keys = [hop.key for hop in path]
    secret = randbytes(SCALAR_BYTES)
    return create_header(geometry.params, commands, keys, encode(final), secret, randbytes)
