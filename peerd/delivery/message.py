"""The message: what a Sphinx body carries to a recipient. One size, whatever is inside.

    message id (16, random) | SURB | delay (4, big-endian) | payload length (4, big-endian) | payload | zeros

The SURB is for the acknowledgement, and the delay, in microseconds, is how long that waits at the recipient
before it departs: drawn by the sender like those of the mix nodes, so that the sender knows every delay of a
round trip, and whatever is beyond them is queueing. Drop cover has a SURB too and an empty payload; loop
cover carries random bytes in its place, since its only reader is its sender; a dummy has zeros: no answer is
wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerd.sphinx import Geometry, Surb
from peerd.types import DropReason

MESSAGE_ID_BYTES = 16
_DELAY_BYTES = 4
_LENGTH_BYTES = 4
_LONGEST_DELAY = 2 ** (8 * _DELAY_BYTES) - 1


@dataclass(frozen=True, slots=True)
class Message:
    message_id: bytes
    surb: bytes
    """Still packed: a duplicate of a loop is never unpacked."""
    payload: bytes
    ack_delay: float = 0.0
    """Seconds that the acknowledgement waits at the recipient; on the wire in steps of a microsecond."""


class MessageCodec:
    """Packs and unpacks messages of one network's geometry."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._surb_end = MESSAGE_ID_BYTES + geometry.surb_bytes
        self._delay_end = self._surb_end + _DELAY_BYTES
        self._overhead = self._delay_end + _LENGTH_BYTES
        if geometry.message_bytes <= self._overhead:
            raise ValueError("the Sphinx body is too small for a SURB and a payload")

    @property
    def payload_bytes(self) -> int:
        """The longest payload."""
        return self._geometry.message_bytes - self._overhead

    def encode(self, message: Message) -> bytes:
        """`Geometry.message_bytes` long. Raises ValueError for parts of a wrong size (our bug)."""
        payload, surb = message.payload, message.surb
        if len(message.message_id) != MESSAGE_ID_BYTES or len(surb) != self._geometry.surb_bytes:
            raise ValueError("message id or SURB of a wrong size")
        if len(payload) > self.payload_bytes:
            raise ValueError(f"payload of {len(payload)} bytes; at most {self.payload_bytes}")
        micros = min(max(round(message.ack_delay * 1e6), 0), _LONGEST_DELAY)
        delay = micros.to_bytes(_DELAY_BYTES, "big")
        length = len(payload).to_bytes(_LENGTH_BYTES, "big")
        padding = bytes(self.payload_bytes - len(payload))
        return b"".join((message.message_id, surb, delay, length, payload, padding))

    def decode(self, data: bytes) -> Message | DropReason:
        """Any bytes; BAD_MESSAGE where they are not a message. The padding is not looked at."""
        if len(data) != self._geometry.message_bytes:
            return DropReason.BAD_MESSAGE
        length = int.from_bytes(data[self._delay_end : self._overhead], "big")
        if length > self.payload_bytes:
            return DropReason.BAD_MESSAGE
        payload = data[self._overhead : self._overhead + length]
        micros = int.from_bytes(data[self._surb_end : self._delay_end], "big")
        surb = data[MESSAGE_ID_BYTES : self._surb_end]
        return Message(data[:MESSAGE_ID_BYTES], surb, payload, micros / 1e6)

    def is_dummy(self, message: Message) -> bool:
        """Whether the message fills a slot and means nothing."""
        return not any(message.surb) and not message.payload

    def unpack_surb(self, message: Message) -> Surb | None:
        surb = Surb.from_bytes(self._geometry, message.surb)
        return surb if isinstance(surb, Surb) else None
