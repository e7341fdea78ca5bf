"""Cover and its stock: wrapped in advance, as much as the rates want, and gone with what made it valid."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery import Delivery, LoopReturned, MessageCodec
from peerd.delivery.cover import LARGEST_STOCK, REMEMBERED
from peerd.mix import CoverRates
from peerd.sphinx import Deliver, Forward, Geometry, MixKey, SurbReply, reply, unwrap
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=3, body_bytes=700)
CODEC = MessageCodec(GEOMETRY)
MIXING = MixingConfig(hops=2, mean_delay_seconds=0.01)
ME = PeerId(bytes(16))
PEERS = [PeerId(bytes([n]) * 16) for n in range(1, 6)]
LOOP, DROP = PacketKind.LOOP, PacketKind.DROP


class Directory:
    def __init__(self) -> None:
        self.living = list(PEERS)
        self.keys = {peer: MixKey.generate() for peer in (ME, *PEERS)}

    def alive(self):
        return self.living

    def enrolled(self, peer):
        return peer in PEERS

    def mix_key(self, peer):
        return self.keys[peer].public


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def delivery(directory: Directory) -> Delivery:
    return Delivery(ME, GEOMETRY, DeliveryConfig(), MIXING, directory, random.Random(1))


def walk(directory: Directory, inject):
    """The mix nodes that it passes, and what it is at its end."""
    peer, packet, passed = inject.first_hop, inject.packet, []
    while True:
        match unwrap(GEOMETRY, directory.keys[peer], packet):
            case Forward(next_hop=following, packet=packet):
                passed.append(peer)
                peer = following
            case end:
                return passed, peer, end


def fill(delivery: Delivery, rates: CoverRates) -> Counter:
    made = Counter()
    while (kind := delivery.cover_wanted(rates)) is not None:
        assert delivery.stock_up(kind)
        made[kind] += 1
        assert sum(made.values()) <= 2 * LARGEST_STOCK
    return made


@pytest.mark.parametrize(
    ("send", "loop", "drop", "expected"),
    [
        (0.0, 0.0, 0.0, {}),
        (0.0, 0.5, 0.5, {LOOP: 1, DROP: 1}),
        (0.0, 2.0, 0.0, {LOOP: 2}),
        (10.0, 0.0, 0.5, {DROP: 11}),
        (0.0, 2.1, 3.0, {LOOP: 3, DROP: 3}),
        (1000.0, 1000.0, 0.0, {LOOP: LARGEST_STOCK, DROP: LARGEST_STOCK}),
    ],
)
def test_the_stock_is_what_the_rates_want_for_a_second(delivery, send, loop, drop, expected) -> None:
    assert fill(delivery, CoverRates(send, loop, drop)) == expected
    for kind in (LOOP, DROP):
        assert delivery.has_cover(kind) == (kind in expected)


def test_cover_comes_from_the_stock_while_there_is_some(delivery, directory) -> None:
    fill(delivery, CoverRates(0.0, 2.0, 3.0))
    directory.living = []  # from here on nothing can be wrapped
    assert [delivery.cover(LOOP).kind for _ in range(2)] == [LOOP, LOOP]
    assert [delivery.cover(DROP).kind for _ in range(3)] == [DROP, DROP, DROP]
    assert delivery.cover(LOOP) is None
    assert delivery.cover(DROP) is None
    assert not delivery.stock_up(LOOP)
    assert not delivery.stock_up(DROP)
    directory.living = list(PEERS)
    assert delivery.cover(LOOP) is not None, "made on the spot"


def test_a_loop_passes_its_hops_comes_home_and_is_measured(delivery, directory) -> None:
    loop = delivery.cover(LOOP)
    passed, end, deliver = walk(directory, loop)
    assert (len(set(passed)), end) == (2, ME)
    assert isinstance(deliver, Deliver)
    assert loop.token is not None
    delivery.departed(loop.token, 10.0)
    assert delivery.received(deliver.message, 10.5) == [LoopReturned(0.5)]


def test_drop_cover_is_a_message_to_somebody_and_its_answer_is_taken_in_silence(delivery, directory) -> None:
    drop = delivery.cover(DROP)
    passed, end, deliver = walk(directory, drop)
    assert end in PEERS
    assert end not in passed
    assert drop.token is None
    other = Delivery(end, GEOMETRY, DeliveryConfig(), MIXING, directory, random.Random(2))
    (ack,) = other.received(deliver.message, 1.0)
    assert ack.kind is PacketKind.ACK
    _, home, answer = walk(directory, ack)
    assert home == ME
    assert isinstance(answer, SurbReply)
    assert delivery.replied(answer.surb_id, answer.body, 2.0) == []
    (second,) = delivery.replied(answer.surb_id, answer.body, 2.0)
    assert second.reason is DropReason.UNKNOWN_SURB


def test_packets_of_the_stock_are_all_different(delivery) -> None:
    fill(delivery, CoverRates(20.0, 20.0, 0.0))
    packets = {delivery.cover(kind).packet for kind in (LOOP, DROP) for _ in range(20)}
    assert len(packets) == 40
    assert {len(packet) for packet in packets} == {GEOMETRY.packet_bytes}


@pytest.mark.parametrize("what", ["reconfigure", "keys_changed"])
def test_what_was_wrapped_for_other_hops_or_keys_is_never_sent(delivery, directory, what) -> None:
    rates = CoverRates(5.0, 5.0, 0.0)
    fill(delivery, rates)
    if what == "keys_changed":
        directory.keys = {peer: MixKey.generate() for peer in directory.keys}
        delivery.keys_changed()
        hops = 2
    else:
        delivery.reconfigure(msgspec.structs.replace(MIXING, hops=3))
        hops = 3
    assert not delivery.has_cover(LOOP)
    assert not delivery.has_cover(DROP)
    assert delivery.cover_wanted(rates) is not None
    fill(delivery, rates)
    for kind in (LOOP, DROP):
        passed, _, end = walk(directory, delivery.cover(kind))
        assert isinstance(end, Deliver)
        assert len(passed) == hops


def test_loops_in_a_discarded_stock_are_never_counted_as_lost(delivery) -> None:
    for _ in range(5):
        fill(delivery, CoverRates(0.0, 30.0, 0.0))
        delivery.keys_changed()
    assert delivery.loops.next_deadline() is None
    assert delivery.work(1e6) == []
    assert delivery.loops.loss is None
    assert not delivery.loops._loops, "nor remembered"


def test_loops_in_stock_wait_without_a_clock(delivery) -> None:
    fill(delivery, CoverRates(0.0, 3.0, 0.0))
    assert delivery.next_deadline(0.0) is None
    assert delivery.work(1e6) == []
    loop = delivery.cover(LOOP)
    delivery.departed(loop.token, 1e6)
    assert delivery.next_deadline(1e6) > 1e6


def test_an_unsent_loop_says_nothing(delivery) -> None:
    loop = delivery.cover(LOOP)
    delivery.lost(loop.token, 1.0)
    assert delivery.work(1e6) == []


def test_paths_by_a_dead_peer_are_purged_and_the_others_stay(delivery, directory) -> None:
    fill(delivery, CoverRates(32.0, 32.0, 0.0))
    dead = PEERS[0]
    directory.living = PEERS[1:]
    delivery.peer_died(dead, 5.0)
    directory.living = []  # only from stock
    left = Counter()
    for kind in (LOOP, DROP):
        while (cover := delivery.cover(kind)) is not None:
            left[kind] += 1
            passed, end, deliver = walk(directory, cover)
            assert dead not in (*passed, end)
            if kind is DROP:  # nor on the way back
                surb = CODEC.unpack_surb(CODEC.decode(deliver.message))
                back, packet = surb.first_hop, reply(GEOMETRY, surb, bytes(16))
                while True:
                    assert back != dead
                    match unwrap(GEOMETRY, directory.keys[back], packet):
                        case Forward(next_hop=back, packet=packet):
                            continue
                        case SurbReply():
                            break
    # With 5 peers and 2 hops, 3 of 5 loops avoid one; a drop has 5 places, on at least 3 peers.
    assert 10 <= left[LOOP] <= 28
    assert 1 <= left[DROP] <= 15
    assert len(delivery.loops._loops) == left[LOOP]


def test_memory_for_the_answers_to_drops_is_bounded(delivery) -> None:
    for _ in range(REMEMBERED // 100):
        fill(delivery, CoverRates(0.0, 0.0, 32.0))
        delivery.keys_changed()
    assert len(delivery._cover._surbs) <= REMEMBERED
