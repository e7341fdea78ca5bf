"""What becomes of a message that arrives: its acknowledgement, once handed on, whatever is asked for."""

from __future__ import annotations

import random

import pytest

from peerd.config import MixingConfig
from peerd.delivery import Dropped, Inject, Message, MessageCodec, Received
from peerd.delivery.receiver import Receiver
from peerd.sphinx import Geometry, Hop, MixKey, make_surb
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=3, body_bytes=1024)
CODEC = MessageCodec(GEOMETRY)
MIXING = MixingConfig(max_delay_seconds=2.0, mean_delay_seconds=0.1)
ME, SENDER = PeerId(b"m" * 16), PeerId(b"s" * 16)
RNG = random.Random(1)


def message(payload=b"hello", ack_delay=0.5):
    surb, _ = make_surb(GEOMETRY, [Hop(SENDER, MixKey.generate().public, 0.0)])
    return Message(RNG.randbytes(16), surb.to_bytes(), payload, ack_delay)


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 0.0), (0.5, 0.5), (3600.0, 2.0)])
def test_the_acknowledgement_waits_as_the_sender_drew_but_not_longer_than_a_packet_may(asked, waits):
    ack, received = Receiver(GEOMETRY, CODEC, 1024).receive(message(ack_delay=asked), MIXING)
    assert isinstance(ack, Inject)
    assert (ack.kind, ack.first_hop, ack.delay) == (PacketKind.ACK, SENDER, waits)
    assert received == Received(b"hello")


def test_a_duplicate_is_acknowledged_again_and_not_handed_on():
    receiver, twice = Receiver(GEOMETRY, CODEC, 1024), message()
    receiver.receive(twice, MIXING)
    ack, dropped = receiver.receive(twice, MIXING)
    assert isinstance(ack, Inject)
    assert dropped == Dropped(DropReason.DUPLICATE)


def test_drop_cover_is_acknowledged_like_a_message():
    (ack,) = Receiver(GEOMETRY, CODEC, 1024).receive(message(payload=b""), MIXING)
    assert isinstance(ack, Inject)
    assert ack.delay == 0.5


def test_a_limit_that_changes_forgets_nothing_at_once():
    receiver, first = Receiver(GEOMETRY, CODEC, 1024), message()
    receiver.receive(first, MIXING)
    receiver.set_limit(2)
    receiver.receive(message(), MIXING)
    assert receiver.receive(first, MIXING)[1] == Dropped(DropReason.DUPLICATE)
    for _ in range(4):
        receiver.receive(message(), MIXING)
    assert receiver.receive(first, MIXING)[1] == Received(b"hello")  # two generations of two
