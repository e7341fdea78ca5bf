"""The sizes of a network's packets as one value.

    alpha 32 | beta | gamma 16 | delta
    \\_______ header _________/ \\_ body: MAC 16 | payload _/

beta has room for `max_hops` forward commands, each with the next header's MAC, and a final command.
A forward payload is what stock sphinxmix makes of (destination, message): a msgpack pair, then
0x7f, then 0xff to the end. Destination and sizes being fixed, all but the message is constant, so
it is compared and never parsed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peerd.sphinx.commands import PACKED_FINAL_BYTES, PACKED_FORWARD_BYTES
from peerd.sphinx.group import ELEMENT_BYTES
from peerd.sphinx.params import KEY_BYTES, Params
from peerd.types import PEER_ID_BYTES

MAX_HOPS = 64
MIN_BODY_BYTES = 64
MAX_BODY_BYTES = 65_536
"""With longer ones msgpack would use another prefix."""
DESTINATION = b"-"
"""The recipient is the last hop; sphinxmix wants a destination of at least one byte."""
END_MARK = b"\x7f"
FILL = b"\xff"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Packet sizes, in bytes. Raises ValueError for values out of range."""

    max_hops: int = 5
    """Most intermediate mix nodes of a path; the recipient is one more hop."""
    body_bytes: int = 8192
    """The Sphinx body (delta)."""

    beta_bytes: int = field(init=False, repr=False, compare=False)
    header_bytes: int = field(init=False, repr=False, compare=False)
    packet_bytes: int = field(init=False, repr=False, compare=False)
    message_bytes: int = field(init=False, repr=False, compare=False)
    """What a forward packet carries, exactly."""
    reply_bytes: int = field(init=False, repr=False, compare=False)
    """What a SURB reply carries, at most; the packet's size does not tell."""
    surb_bytes: int = field(init=False, repr=False, compare=False)
    payload_prefix: bytes = field(init=False, repr=False, compare=False)
    payload_suffix: bytes = field(init=False, repr=False, compare=False)
    params: Params = field(init=False, repr=False, compare=False)
    """The same, for sphinxmix."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_hops <= MAX_HOPS:
            raise ValueError(f"max_hops must be 1 to {MAX_HOPS}, not {self.max_hops}")
        if not MIN_BODY_BYTES <= self.body_bytes <= MAX_BODY_BYTES:
            raise ValueError(
                f"body_bytes must be {MIN_BODY_BYTES} to {MAX_BODY_BYTES}, not {self.body_bytes}"
            )
        beta = self.max_hops * (PACKED_FORWARD_BYTES + KEY_BYTES) + PACKED_FINAL_BYTES
        header = ELEMENT_BYTES + beta + KEY_BYTES
        payload = self.body_bytes - KEY_BYTES
        message, prefix, suffix = _forward_payload(payload)
        self._derive("beta_bytes", beta)
        self._derive("header_bytes", header)
        self._derive("packet_bytes", header + self.body_bytes)
        self._derive("message_bytes", message)
        self._derive("reply_bytes", payload - len(END_MARK))
        self._derive("surb_bytes", PEER_ID_BYTES + header + KEY_BYTES)
        self._derive("payload_prefix", prefix)
        self._derive("payload_suffix", suffix)
        self._derive("params", Params(beta, self.body_bytes))

    def _derive(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _forward_payload(size: int) -> tuple[int, bytes, bytes]:
    """The longest message in a payload of this size, and what surrounds it.

    At most one byte of fill: msgpack has no prefix that makes 256 bytes from 255 and one more.
    """
    for message in (size - _overhead(0), size - _overhead(256)):
        free = size - _overhead(message) - message
        if free >= 0:
            return message, _prefix(message), END_MARK + FILL * free
    raise ValueError(f"no message fits a payload of {size} bytes")


def _overhead(message: int) -> int:
    return len(_prefix(message)) + len(END_MARK)


def _prefix(message: int) -> bytes:
    """msgpack's beginning of [DESTINATION, message]: an array of two, bin 8, bin 8 or bin 16."""
    pair = b"\x92\xc4" + bytes((len(DESTINATION),)) + DESTINATION
    if message < 256:
        return pair + b"\xc4" + message.to_bytes(1, "big")
    return pair + b"\xc5" + message.to_bytes(2, "big")
