"""Messages through a simulated mixnet: loss, death, replay, switching, windows."""

from __future__ import annotations

from collections import Counter

import pytest

from peerd.config import DeliveryConfig, MixingConfig
from peerd.types import DropReason, PacketKind

QUIET = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)
OUTBOX = MixingConfig(
    strategy="outbox",
    outbox_interval_seconds=0.01,
    loop_rate_per_second=0.0,
    drop_rate_per_second=0.0,
)


def everybody_sends(net, count, per_pair):
    for sender in range(count):
        for recipient in range(count):
            for number in range(per_pair if sender != recipient else 0):
                net.send(sender, recipient, f"{sender}>{recipient}:{number}".encode(), tag=number)


def settled(net, expected):
    return lambda: sum(len(p.acked) + len(p.gave_up) for p in net.peers.values()) >= expected


@pytest.mark.parametrize("mixing", [QUIET, OUTBOX], ids=["exponential", "outbox"])
def test_every_message_arrives_once_and_is_acknowledged(network, mixing):
    net = network(6, seed=1, mixing=mixing)
    everybody_sends(net, 6, 3)
    net.run(120, until=settled(net, 90))
    assert sum(len(p.acked) for p in net.peers.values()) == 90
    got = Counter(payload for p in net.peers.values() for payload in p.received)
    assert len(got) == 90
    assert set(got.values()) == {1}
    assert all(not p.gave_up for p in net.peers.values())


@pytest.mark.parametrize("seed", range(4))
def test_losses_are_resent_and_never_handed_on_twice(network, seed):
    net = network(6, seed=seed, loss=0.08)
    everybody_sends(net, 6, 3)
    net.run(600, until=settled(net, 90))
    assert sum(len(p.acked) for p in net.peers.values()) == 90
    assert sum(p.resent for p in net.peers.values()) > 0
    got = Counter(payload for p in net.peers.values() for payload in p.received)
    assert set(got.values()) == {1}
    assert len(got) == 90


def test_a_calm_network_resends_nothing(network):
    """The first prototype's timer started at queueing: every resend it made was spurious."""
    net = network(6, seed=3, delivery=DeliveryConfig(max_in_flight=8))
    everybody_sends(net, 6, 20)
    net.run(600, until=settled(net, 600))
    assert sum(len(p.acked) for p in net.peers.values()) == 600
    assert sum(p.resent for p in net.peers.values()) <= 3  # of 600: the estimate's own tail


def test_a_broken_network_ends_in_counted_give_ups(network):
    net = network(6, seed=4, loss=1.0, delivery=DeliveryConfig(max_attempts=3))
    net.send(0, 1, b"into the void", tag=77)
    net.run(600, until=settled(net, 1))
    (lost,) = net[0].gave_up
    assert (lost.tag, lost.reason) == (77, DropReason.GAVE_UP)
    assert net[0].sent[PacketKind.OWN] == 3
    assert net[0].mixnet.delivery.in_flight == 0


def test_in_flight_never_exceeds_the_window(network):
    net = network(6, seed=5, delivery=DeliveryConfig(max_in_flight=4))
    for number in range(40):
        net.send(0, 1, b"m%d" % number)
    peak = 0
    while len(net[0].acked) < 40 and net.now < 600:
        net.run(0.01)
        peak = max(peak, net[0].mixnet.delivery.in_flight)
    assert len(net[0].acked) == 40
    assert peak == 4


def test_a_peer_that_dies_is_not_waited_for_and_paths_avoid_it(network):
    net = network(7, seed=6)
    everybody_sends(net, 7, 2)
    net.run(0.2)
    net.kill(6)
    living = [net[i] for i in range(6)]
    net.run(600, until=lambda: sum(len(p.acked) + len(p.gave_up) for p in living) == 6 * 6 * 2)
    for peer in living:
        assert all(lost.reason is DropReason.PEER_DEAD for lost in peer.gave_up)
        assert peer.mixnet.delivery.in_flight == 0
    got = Counter(payload for p in living for payload in p.received)
    between_living = [f"{a}>{b}:{n}".encode() for a in range(6) for b in range(6) for n in range(2)]
    assert all(got[m] == 1 for m in between_living if m[:1] != m[2:3])


def test_too_few_mix_nodes_means_waiting_never_a_shorter_path(network):
    net = network(5, seed=7)  # three hops need sender, recipient and three more
    net.kill(4)
    net.send(0, 1, b"patience")
    net.run(5)
    assert net[0].sent[PacketKind.OWN] == 0
    assert net[0].mixnet.delivery.in_flight == 1
    net.restart(4)
    net.run(60, until=settled(net, 1))
    assert net[1].received == [b"patience"]


def test_replayed_packets_are_counted_and_change_nothing(network):
    net = network(6, seed=8)
    net.tamper = lambda packet: [packet, packet, packet]
    everybody_sends(net, 6, 1)
    net.run(120, until=settled(net, 30))
    net.run(5)
    got = Counter(payload for p in net.peers.values() for payload in p.received)
    assert set(got.values()) == {1}
    replays = sum(p.dropped[DropReason.REPLAY] for p in net.peers.values())
    packets = sum(sum(p.sent.values()) for p in net.peers.values())
    assert replays == 2 * packets


def test_corrupted_packets_are_dropped_silently_and_resent(network):
    net = network(6, seed=9, delivery=DeliveryConfig(max_attempts=30))
    flip = net.rng

    def tamper(packet):
        if flip.random() < 0.1:
            position = flip.randrange(len(packet))
            changed = packet[position] ^ (1 << flip.randrange(8))
            packet = packet[:position] + bytes([changed]) + packet[position + 1 :]
        return [packet]

    net.tamper = tamper
    everybody_sends(net, 6, 2)
    net.run(600, until=settled(net, 60))
    assert sum(len(p.acked) for p in net.peers.values()) == 60
    reasons = Counter[DropReason]()
    for peer in net.peers.values():
        reasons.update(peer.dropped)
    assert reasons[DropReason.BAD_MAC] + reasons[DropReason.BAD_BODY] > 0
    assert not reasons[DropReason.BAD_MESSAGE]


def test_switching_the_strategy_under_load_loses_nothing(network):
    net = network(6, seed=10)
    everybody_sends(net, 6, 5)
    for step in range(10):
        net.run(0.1)
        mixing = OUTBOX if step % 2 == 0 else QUIET
        net.set_mixing(mixing)
    net.run(600, until=settled(net, 150))
    assert sum(len(p.acked) for p in net.peers.values()) == 150
    assert all(not p.gave_up for p in net.peers.values())


def test_cover_flows_without_any_message_and_loops_come_home(network):
    net = network(6, seed=11, mixing=MixingConfig(loop_rate_per_second=2.0, drop_rate_per_second=2.0))
    net.run(60)
    for peer in net.peers.values():
        assert 60 < peer.sent[PacketKind.LOOP] < 200  # Poisson, mean 120
        assert 60 < peer.sent[PacketKind.DROP] < 200
        assert peer.loops >= peer.sent[PacketKind.LOOP] - 10
        assert peer.received == []  # drop cover is answered, and handed to nobody
    acks = sum(p.sent[PacketKind.ACK] for p in net.peers.values())
    drops = sum(p.sent[PacketKind.DROP] for p in net.peers.values())
    assert drops - 30 <= acks <= drops
    assert all(p.dropped[DropReason.UNKNOWN_SURB] == 0 for p in net.peers.values())


def test_every_tag_is_journalled_before_the_packet_moves_on(network):
    net = network(6, seed=12)
    net.send(0, 1, b"x")
    net.run(60, until=settled(net, 1))
    tags = [tag for p in net.peers.values() for tag in p.journal]
    assert len(tags) == len(set(tags)) == 8  # three hops and the end, there and back


@pytest.mark.parametrize(("count", "hops"), [(3, 1), (6, 3)])
def test_constant_emission_makes_no_work_for_itself(network, count, hops):
    """Fillers that travelled on, and were answered, once drowned whichever peer was busier."""
    rate = 20
    mixing = MixingConfig(
        strategy="outbox", hops=hops, outbox_interval_seconds=1 / rate, outbox_jitter_seconds=0.01
    )
    net = network(count, seed=13, mixing=mixing)
    everybody_sends(net, count, 4)
    net.run(600, until=settled(net, count * (count - 1) * 4))
    assert all(not p.gave_up for p in net.peers.values())
    before = {p.peer_id: sum(p.sent.values()) for p in net.peers.values()}
    net.run(90)
    for peer in net.peers.values():
        emitted = sum(peer.sent.values()) - before[peer.peer_id]
        assert 0.98 * rate * 90 <= emitted <= 1.02 * rate * 90
        assert peer.sent[PacketKind.DUMMY] > rate * 90 / 2
        assert peer.mixnet.mix_depth <= 20
        assert peer.dropped[DropReason.UNKNOWN_SURB] == 0
