"""What one mix node does with each packet that arrives: on, to delivery, or to the tally of drops."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.relay import Mixnet
from peerd.sphinx import Geometry, Hop, MixKey, ReplayFilter, wrap
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
QUIET = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)
ME, NEXT, LAST, STRANGER = (PeerId(bytes([n]) * 16) for n in range(1, 5))
KEYS = {peer: MixKey.generate() for peer in (ME, NEXT, LAST, STRANGER)}


class Directory:
    def alive(self):
        return [NEXT, LAST]

    def mix_key(self, peer):
        return None if peer == STRANGER else KEYS[peer].public


class Node:
    def __init__(self, mixing=QUIET, relay=None, emit=None):
        self.log = []
        self.drops = Counter()
        self.sent = Counter()
        self.mixnet = Mixnet(
            me=ME, geometry=GEOMETRY, key=KEYS[ME], replay=ReplayFilter(10_000), directory=Directory(),
            mixing=mixing, delivery=DeliveryConfig(), relay=relay or RelayConfig(), rng=random.Random(1),
            now=0.0, emit=emit or self._emit, journal=lambda tags: self.log.append(("journal", len(tags))),
            dropped=lambda reason: self.drops.update([reason]), sent=lambda kind: self.sent.update([kind]),
        )  # fmt: skip

    def _emit(self, peer, packet):
        self.log.append(("emit", peer, len(packet)))


def packet(*path, delay=0.0):
    hops = [Hop(peer, KEYS[peer].public, delay) for peer in path]
    return wrap(GEOMETRY, hops, bytes(GEOMETRY.message_bytes))


def test_a_packet_is_journalled_then_waits_then_goes_on():
    node = Node()
    node.mixnet.arrived(packet(ME, NEXT, LAST, delay=0.5))
    assert node.mixnet.next_deadline(1.0) == 1.0
    node.mixnet.turn(1.0)
    assert node.log == [("journal", 1)]
    assert node.mixnet.next_deadline(1.0) == 1.5
    node.mixnet.turn(1.4)
    assert node.log == [("journal", 1)]
    node.mixnet.turn(1.5)
    assert node.log == [("journal", 1), ("emit", NEXT, GEOMETRY.packet_bytes)]
    assert node.sent == {PacketKind.FORWARDED: 1}
    assert not node.drops


@pytest.mark.parametrize(
    ("arriving", "reason"),
    [
        (packet(ME, STRANGER, LAST), DropReason.NEXT_HOP_UNKNOWN),
        (packet(ME, ME, LAST), DropReason.NEXT_HOP_SELF),
        (packet(ME, NEXT, LAST, delay=11.0), DropReason.DELAY_TOO_LONG),
        (packet(NEXT, LAST), DropReason.BAD_MAC),
        (packet(ME, NEXT)[:-1], DropReason.BAD_SIZE),
        (bytes(GEOMETRY.packet_bytes), DropReason.LOW_ORDER),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_go_on_is_counted(arriving, reason):
    node = Node()
    node.mixnet.arrived(arriving)
    assert node.mixnet.turn(0.0) == []
    assert node.drops == {reason: 1}
    node.mixnet.turn(100.0)
    assert not node.sent


def test_a_bad_message_for_us_is_dropped_in_silence():
    node = Node()
    node.mixnet.arrived(wrap(GEOMETRY, [Hop(ME, KEYS[ME].public, 0.0)], b"\xff" * GEOMETRY.message_bytes))
    assert node.mixnet.turn(0.0) == []
    node.mixnet.turn(100.0)
    assert node.drops == {DropReason.BAD_MESSAGE: 1}
    assert not node.sent


def test_a_replay_is_refused_whenever_it_comes():
    node = Node()
    arriving = packet(ME, NEXT, LAST)
    for now in (0.0, 0.0, 1000.0):
        node.mixnet.arrived(arriving)
        node.mixnet.turn(now)
    assert node.sent == {PacketKind.FORWARDED: 1}
    assert node.drops == {DropReason.REPLAY: 2}


def test_the_inbox_is_bounded():
    node = Node(relay=RelayConfig(inbox_limit=16))
    for _ in range(20):
        node.mixnet.arrived(b"x")
    assert node.mixnet.inbox_depth == 16
    assert node.drops == {DropReason.INBOX_FULL: 4}


def test_a_turn_is_short_whatever_waits():
    node = Node()
    for _ in range(100):
        node.mixnet.arrived(packet(ME, NEXT, LAST))
    node.mixnet.turn(0.0)
    assert node.mixnet.inbox_depth == 92
    assert node.mixnet.next_deadline(0.0) == 0.0


def test_the_strategy_is_bounded():
    node = Node(mixing=MixingConfig(queue_limit=16, loop_rate_per_second=0.0, drop_rate_per_second=0.0))
    for _ in range(20):
        node.mixnet.arrived(packet(ME, NEXT, LAST, delay=5.0))
    while node.mixnet.inbox_depth:
        node.mixnet.turn(0.0)
    assert node.mixnet.mix_depth == 16
    assert node.drops == {DropReason.MIX_QUEUE_FULL: 4}


def test_an_own_message_whose_link_is_down_is_tried_again():
    refusals = [DropReason.LINK_DOWN, None]
    emitted = []

    def emit(peer, sent):
        emitted.append(peer)
        return refusals.pop(0) if refusals else None

    mixing = MixingConfig(hops=1, loop_rate_per_second=0.0, drop_rate_per_second=0.0)
    node = Node(mixing=mixing, emit=emit)
    assert node.mixnet.delivery.send(NEXT, b"hello", tag=1) is None
    now = 0.0
    while len(emitted) < 2:
        deadline = node.mixnet.next_deadline(now)
        assert deadline is not None
        now = max(now, deadline)
        assert now < 10.0
        node.mixnet.turn(now)
    assert node.drops == {DropReason.LINK_DOWN: 1}
    assert node.sent == {PacketKind.OWN: 1}
    assert node.mixnet.delivery.in_flight == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=GEOMETRY.packet_bytes + 5), max_size=20))
def test_no_bytes_from_a_link_raise(arriving):
    node = Node()
    for data in arriving:
        node.mixnet.arrived(data)
    while node.mixnet.inbox_depth:
        assert node.mixnet.turn(0.0) == []
    assert sum(node.drops.values()) == len(arriving)
