"""What one mix node does with each packet that arrives: on, to delivery, or to the tally of drops."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.relay import Mixnet
from peerd.sphinx import EpochKey, Geometry, Hop, Keyring, MixKey, ReplayFilter, wrap
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
QUIET = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)
ME, NEXT, LAST, STRANGER = (PeerId(bytes([n]) * 16) for n in range(1, 5))
KEYS = {peer: MixKey.generate() for peer in (ME, NEXT, LAST, STRANGER)}
NEXT_KEY = MixKey.generate()
EPOCH = 7
"""`NEXT_KEY` is ours for the epoch after it."""


def keyring():
    ring = Keyring()
    ring.put(EpochKey(EPOCH, KEYS[ME], ReplayFilter(10_000)))
    ring.put(EpochKey(EPOCH + 1, NEXT_KEY, ReplayFilter(10_000)))
    ring.accept((EPOCH, EPOCH + 1))
    return ring


class Directory:
    def alive(self):
        return [NEXT, LAST]

    def enrolled(self, peer):
        return peer in (NEXT, LAST)

    def mix_key(self, peer):
        return None if peer == STRANGER else KEYS[peer].public


class Node:
    def __init__(self, mixing=QUIET, relay=None, emit=None, tracer=None):
        self.log = []
        self.drops = Counter()
        self.sent = Counter()
        self.mixed = []
        self.mixnet = Mixnet(
            me=ME, geometry=GEOMETRY, keyring=keyring(), directory=Directory(),
            mixing=mixing, delivery=DeliveryConfig(), relay=relay or RelayConfig(), rng=random.Random(1),
            now=0.0, emit=emit or self._emit,
            journal=lambda epoch, tags: self.log.append(("journal", epoch, len(tags))),
            dropped=lambda reason: self.drops.update([reason]), sent=lambda kind: self.sent.update([kind]),
            mixed=lambda *told: self.mixed.append(told), tracer=tracer,
        )  # fmt: skip

    def _emit(self, peer, packet):
        self.log.append(("emit", peer, len(packet)))


def packet(*path, delay=0.0):
    hops = [Hop(peer, KEYS[peer].public, delay) for peer in path]
    return wrap(GEOMETRY, hops, bytes(GEOMETRY.message_bytes))


def test_a_packet_is_journalled_then_waits_then_goes_on():
    node = Node()
    node.mixnet.arrived(packet(ME, NEXT, LAST, delay=0.5), 1.0)
    assert node.mixnet.next_deadline(1.0) == 1.0
    node.mixnet.turn(1.0)
    assert node.log == [("journal", EPOCH, 1)]
    assert node.mixnet.next_deadline(1.0) == 1.5
    node.mixnet.turn(1.4)
    assert node.log == [("journal", EPOCH, 1)]
    node.mixnet.turn(1.5)
    assert node.log == [("journal", EPOCH, 1), ("emit", NEXT, GEOMETRY.packet_bytes)]
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
    node.mixnet.arrived(arriving, 0.0)
    assert node.mixnet.turn(0.0) == []
    assert node.drops == {reason: 1}
    node.mixnet.turn(100.0)
    assert not node.sent


@pytest.mark.parametrize("replaced", [True, False])
def test_packets_of_a_key_that_the_journal_gave_up_do_not_move(replaced):
    """Their tags are not on disk, but the key is: after a restart they could be sent again."""
    node = Node()
    ring = node.mixnet._keyring

    def give_up(epoch, _tags):
        ring.forget(epoch)
        if replaced:
            ring.put(EpochKey(epoch, MixKey.generate(), ReplayFilter(1000)))
            ring.accept((EPOCH, EPOCH + 1))

    node.mixnet._journal = give_up
    for _ in range(3):
        node.mixnet.arrived(packet(ME, NEXT, LAST), 0.0)
    node.mixnet.turn(0.0)
    node.mixnet.turn(100.0)
    assert node.drops == {DropReason.REPLAY_LOG_LOST: 3}
    assert not node.sent


def test_a_bad_message_for_us_is_dropped_in_silence():
    node = Node()
    node.mixnet.arrived(
        wrap(GEOMETRY, [Hop(ME, KEYS[ME].public, 0.0)], b"\xff" * GEOMETRY.message_bytes), 0.0
    )
    assert node.mixnet.turn(0.0) == []
    node.mixnet.turn(100.0)
    assert node.drops == {DropReason.BAD_MESSAGE: 1}
    assert not node.sent


def test_a_replay_is_refused_whenever_it_comes():
    node = Node()
    arriving = packet(ME, NEXT, LAST)
    for now in (0.0, 0.0, 1000.0):
        node.mixnet.arrived(arriving, now)
        node.mixnet.turn(now)
    assert node.sent == {PacketKind.FORWARDED: 1}
    assert node.drops == {DropReason.REPLAY: 2}


def test_the_inbox_is_bounded():
    node = Node(relay=RelayConfig(inbox_limit=16))
    for _ in range(20):
        node.mixnet.arrived(b"x", 0.0)
    assert node.mixnet.inbox_depth == 16
    assert node.drops == {DropReason.INBOX_FULL: 4}


def test_a_smaller_inbox_takes_nothing_more_and_drops_nothing_that_waits():
    node = Node(relay=RelayConfig(inbox_limit=32))
    for _ in range(30):
        node.mixnet.arrived(b"x", 0.0)
    node.mixnet.set_relay(RelayConfig(inbox_limit=16))
    node.mixnet.arrived(b"x", 0.0)
    assert node.mixnet.inbox_depth == 30
    assert node.drops == {DropReason.INBOX_FULL: 1}
    node.mixnet.set_relay(RelayConfig(inbox_limit=40))
    node.mixnet.arrived(b"x", 0.0)
    assert node.mixnet.inbox_depth == 31


def test_a_turn_is_short_whatever_waits():
    node = Node()
    for _ in range(100):
        node.mixnet.arrived(packet(ME, NEXT, LAST), 0.0)
    node.mixnet.turn(0.0)
    assert node.mixnet.inbox_depth == 92
    assert node.mixnet.next_deadline(0.0) == 0.0


def test_the_strategy_is_bounded():
    node = Node(mixing=MixingConfig(queue_limit=16, loop_rate_per_second=0.0, drop_rate_per_second=0.0))
    for _ in range(20):
        node.mixnet.arrived(packet(ME, NEXT, LAST, delay=5.0), 0.0)
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


def test_tags_are_journalled_under_the_epoch_of_the_key_that_opened_them():
    node = Node()
    new = [
        Hop(ME, NEXT_KEY.public, 0.0),
        Hop(NEXT, KEYS[NEXT].public, 0.0),
        Hop(LAST, KEYS[LAST].public, 0.0),
    ]
    for number in range(6):
        arriving = (
            wrap(GEOMETRY, new, bytes(GEOMETRY.message_bytes)) if number % 3 else packet(ME, NEXT, LAST)
        )
        node.mixnet.arrived(arriving, 0.0)
    node.mixnet.arrived(bytes(GEOMETRY.packet_bytes), 0.0)  # is in no journal
    node.mixnet.turn(0.0)
    assert Counter(entry[0] for entry in node.log) == {"journal": 2, "emit": 6}
    assert [entry[0] for entry in node.log[:2]] == ["journal", "journal"], "before anything is sent"
    assert {entry[1:] for entry in node.log[:2]} == {(EPOCH, 2), (EPOCH + 1, 4)}
    assert node.drops == {DropReason.LOW_ORDER: 1}


def test_a_tag_of_one_epoch_does_not_refuse_a_packet_of_another():
    node = Node()
    first = packet(ME, NEXT, LAST)
    node.mixnet.arrived(first, 0.0)
    node.mixnet.turn(0.0)
    node.mixnet._keyring.accept((EPOCH + 1,))
    node.mixnet.arrived(first, 1.0)
    node.mixnet.turn(1.0)
    assert node.drops == {DropReason.BAD_MAC: 1}, "its key is gone: no packet of ours any more"


def test_the_meter_is_told_of_every_release_with_the_strategy_and_its_bits():
    node = Node(mixing=MixingConfig(strategy="timed", loop_rate_per_second=0.0, drop_rate_per_second=0.0))
    for _ in range(8):
        node.mixnet.arrived(packet(ME, NEXT, LAST), 0.0)
    node.mixnet.turn(0.01)
    assert node.mixed == []
    node.mixnet.turn(0.1)
    assert node.mixed == [("timed", 3.0, 8)]
    node.mixnet.turn(0.2)
    assert len(node.mixed) == 1, "nothing left, nothing told"
    node.mixnet.set_mixing(
        MixingConfig(strategy="none", loop_rate_per_second=0.0, drop_rate_per_second=0.0), 0.3
    )
    for _ in range(2):
        node.mixnet.arrived(packet(ME, NEXT, LAST), 0.3)
    node.mixnet.turn(0.3)
    assert node.mixed[1:] == [("none", 0.0, 2)]


def test_dummies_of_a_strategy_are_no_departures_for_the_meter():
    quiet = {"loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0}
    node = Node(mixing=MixingConfig(strategy="threshold", threshold_size=4, **quiet))
    node.mixnet.arrived(packet(ME, NEXT, LAST), 0.0)
    node.mixnet.turn(0.0)
    node.mixnet.turn(1.0)
    assert node.sent == {PacketKind.FORWARDED: 1, PacketKind.DUMMY: 3}
    assert node.mixed == [("threshold", 0.0, 1)]


def test_a_live_switch_keeps_what_waits():
    node = Node()
    for _ in range(3):
        node.mixnet.arrived(packet(ME, NEXT, LAST, delay=0.5), 0.0)
    node.mixnet.turn(0.0)
    for name in ("pool", "threshold", "timed", "outbox", "exponential", "none"):
        node.mixnet.set_mixing(
            MixingConfig(strategy=name, loop_rate_per_second=0.0, drop_rate_per_second=0.0), 0.1
        )
        assert node.mixnet.mix_depth == 3
    node.mixnet.turn(0.2)
    assert node.sent == {PacketKind.FORWARDED: 3}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=GEOMETRY.packet_bytes + 5), max_size=20))
def test_no_bytes_from_a_link_raise(arriving):
    node = Node()
    for data in arriving:
        node.mixnet.arrived(data, 0.0)
    while node.mixnet.inbox_depth:
        assert node.mixnet.turn(0.0) == []
    assert sum(node.drops.values()) == len(arriving)
