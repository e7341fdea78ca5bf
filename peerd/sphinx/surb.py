"""Single-use reply blocks: a header made in advance, with which a stranger can answer.

Each is to be used once. Nothing here enforces it: a second reply has the first one's replay tags,
and every mix node on its way drops it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from peerd.sphinx.commands import SURB_ID_BYTES, ReplyTo
from peerd.sphinx.geometry import END_MARK, FILL, Geometry
from peerd.sphinx.group import RandomBytes
from peerd.sphinx.params import KEY_BYTES, lioness_decrypt, lioness_encrypt
from peerd.sphinx.wrap import Hop, header_for
from peerd.types import PEER_ID_BYTES, PeerId


@dataclass(frozen=True, slots=True)
class Surb:
    """What the answering side gets. On the wire: first hop (16) | header | key (16)."""

    first_hop: PeerId
    header: bytes
    key: bytes = field(repr=False)
    """The innermost body key, known to both ends and to no hop."""

    def to_bytes(self) -> bytes:
        """`Geometry.surb_bytes` long."""
        return self.first_hop + self.header + self.key

    @classmethod
    def from_bytes(cls, geometry: Geometry, data: bytes) -> Surb | None:
        """Any bytes; None where the size is wrong. Its hops will say whether the header is good."""
        if len(data) != geometry.surb_bytes:
            return None
        key_start = PEER_ID_BYTES + geometry.header_bytes
        first_hop = PeerId(data[:PEER_ID_BYTES])
        return cls(first_hop, data[PEER_ID_BYTES:key_start], data[key_start:])


@dataclass(frozen=True, slots=True)
class SurbKeys:
    """What the maker keeps, to recognise the reply and to open it."""

    surb_id: bytes
    """16 bytes, in the last hop's command."""
    key: bytes = field(repr=False)
    hop_keys: tuple[bytes, ...] = field(repr=False)

    def open(self, geometry: Geometry, body: bytes) -> bytes | None:
        """The reply in the body of a `SurbReply`; None where its MAC or its padding is broken.

        Every hop decrypted a body that was never encrypted for it; their keys undo that.
        """
        if len(body) != geometry.body_bytes:
            return None
        short, long = body[:KEY_BYTES], body[KEY_BYTES:]
        for key in reversed(self.hop_keys):
            short, long = lioness_encrypt(key, short, long)
        short, long = lioness_decrypt(self.key, short, long)
        if not hmac.compare_digest(short, geometry.params.mu(self.key, long)):
            return None
        padded = long.rstrip(FILL)
        return padded.removesuffix(END_MARK) if padded.endswith(END_MARK) else None


def make_surb(
    geometry: Geometry, path: Sequence[Hop], *, randbytes: RandomBytes = os.urandom
) -> tuple[Surb, SurbKeys]:
    """A reply block along mix nodes to oneself, the last hop. Raises ValueError as `wrap` does."""
    surb_id = randbytes(SURB_ID_BYTES)
    header, hop_keys = header_for(geometry, path, ReplyTo(surb_id), randbytes)
    key = randbytes(KEY_BYTES)
    return Surb(path[0].peer, b"".join(header), key), SurbKeys(surb_id, key, tuple(hop_keys))


def reply(geometry: Geometry, surb: Surb, message: bytes) -> bytes:
    """The packet that answers, for `surb.first_hop`; of one size, however short the message.

    Raises ValueError for more than `geometry.reply_bytes`.
    """
    free = geometry.reply_bytes - len(message)
    if free < 0:
        raise ValueError(f"a reply is at most {geometry.reply_bytes} bytes, not {len(message)}")
    long = b"".join((message, END_MARK, FILL * free))
    short, long = lioness_encrypt(surb.key, geometry.params.mu(surb.key, long), long)
    return b"".join((surb.header, short, long))
