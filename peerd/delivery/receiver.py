"""The receiving half: every message is acknowledged by its SURB, and handed on once.

A duplicate (a resend whose first attempt did arrive) is acknowledged again, since the first
acknowledgement may be what was lost, but not handed on. A message that cannot be read is dropped in
silence: never acknowledged, never refused aloud, so that tampering teaches nothing.
"""

from __future__ import annotations

from peerd.config import MixingConfig
from peerd.delivery.events import Dropped, Event, Inject, Received
from peerd.delivery.message import Message, MessageCodec
from peerd.sphinx import Geometry, reply
from peerd.types import DropReason, PacketKind


class Receiver:
    """Dedup and acknowledgement. Remembers between `limit` and 2 x `limit` message ids."""

    def __init__(self, geometry: Geometry, codec: MessageCodec, limit: int) -> None:
        self._geometry = geometry
        self._codec = codec
        self._limit = limit
        # Two generations: the elder is dropped whole, which bounds memory at no cost per message.
        self._recent: set[bytes] = set()
        self._elder: set[bytes] = set()

    def set_limit(self, limit: int) -> None:
        """Nothing that is remembered is forgotten at once."""
        self._limit = limit

    def receive(self, message: Message, mixing: MixingConfig) -> list[Event]:
        surb = self._codec.unpack_surb(message)
        if surb is None:
            return [Dropped(DropReason.BAD_MESSAGE)]
        ack = Inject(
            reply(self._geometry, surb, message.message_id),
            surb.first_hop,
            PacketKind.ACK,
            min(message.ack_delay, mixing.max_delay_seconds),
        )
        if self._seen(message.message_id):
            return [ack, Dropped(DropReason.DUPLICATE)]
        return [ack, Received(message.payload)] if message.payload else [ack]

    def _seen(self, message_id: bytes) -> bool:
        if message_id in self._recent or message_id in self._elder:
            return True
        self._recent.add(message_id)
        if len(self._recent) >= self._limit:
            self._elder, self._recent = self._recent, set()
        return False
