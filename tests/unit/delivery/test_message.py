from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.delivery import Message, MessageCodec
from peerd.sphinx import Geometry
from peerd.types import DropReason

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
CODEC = MessageCodec(GEOMETRY)


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=GEOMETRY.surb_bytes, max_size=GEOMETRY.surb_bytes),
    st.binary(max_size=CODEC.payload_bytes),
    st.integers(0, 2**32 - 1).map(lambda micros: micros / 1e6),
)
def test_decode_inverts_encode_and_the_size_never_tells(message_id, surb, payload, ack_delay):
    message = Message(message_id, surb, payload, ack_delay)
    packed = CODEC.encode(message)
    assert len(packed) == GEOMETRY.message_bytes
    assert CODEC.decode(packed) == message


@given(st.binary(max_size=2 * GEOMETRY.message_bytes))
def test_any_bytes_are_a_message_or_a_counted_drop(data):
    decoded = CODEC.decode(data)
    assert decoded is DropReason.BAD_MESSAGE or isinstance(decoded, Message)


def test_a_length_beyond_the_payload_is_refused():
    packed = bytearray(CODEC.encode(Message(bytes(16), bytes(GEOMETRY.surb_bytes), b"x")))
    at = 16 + GEOMETRY.surb_bytes + 4
    packed[at : at + 4] = (CODEC.payload_bytes + 1).to_bytes(4, "big")
    assert CODEC.decode(bytes(packed)) is DropReason.BAD_MESSAGE


@pytest.mark.parametrize(("asked", "sent"), [(-1.0, 0.0), (0.25, 0.25), (1e9, (2**32 - 1) / 1e6)])
def test_the_delay_of_the_acknowledgement_is_clamped(asked, sent):
    packed = CODEC.encode(Message(bytes(16), bytes(GEOMETRY.surb_bytes), b"x", asked))
    assert CODEC.decode(packed).ack_delay == sent


def test_our_own_mistakes_are_errors_not_drops():
    with pytest.raises(ValueError, match="payload of"):
        CODEC.encode(Message(bytes(16), bytes(GEOMETRY.surb_bytes), bytes(CODEC.payload_bytes + 1)))
    with pytest.raises(ValueError, match="wrong size"):
        CODEC.encode(Message(b"short", bytes(GEOMETRY.surb_bytes), b""))
    with pytest.raises(ValueError, match="too small"):
        MessageCodec(Geometry(max_hops=5, body_bytes=300))
