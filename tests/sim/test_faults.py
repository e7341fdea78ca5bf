"""Random schedules of faults on the virtual clock: whatever happens, nothing is lost without a word."""

from __future__ import annotations

from collections import Counter

import pytest

from peerd.config import MixingConfig
from peerd.types import DropReason

PEERS = 7
STRATEGIES = (
    MixingConfig(loop_rate_per_second=0.2, drop_rate_per_second=0.2),
    MixingConfig(mean_delay_seconds=0.2, loop_rate_per_second=0.0, drop_rate_per_second=0.0),
    MixingConfig(strategy="outbox", outbox_interval_seconds=0.02, outbox_jitter_seconds=0.005),
)


def play(network, seed):
    """Bursts of messages, losses, copies, bit flips, strategy switches and one death, all from the seed."""
    net = network(PEERS, seed=seed)
    rng = net.rng

    def tamper(packet):
        fate = rng.random()
        if fate < 0.01:
            return [packet, packet]
        if fate < 0.02:
            at = rng.randrange(len(packet))
            return [packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]]
        return [packet]

    net.tamper = tamper
    net.loss = rng.choice([0.0, 0.01, 0.05])
    dead = rng.randrange(PEERS)
    dies_in = rng.randrange(1, 6)
    sent = Counter()
    for step in range(6):
        for _ in range(rng.randrange(30)):
            sender, recipient = rng.sample(range(PEERS), 2)
            if net[sender].up and net[recipient].up:
                payload = f"{step}:{sender}>{recipient}:{sum(sent.values())}".encode()
                net.send(sender, recipient, payload)
                sent[sender] += 1
        net.run(rng.random() * 2)
        if rng.random() < 0.5:
            mixing = rng.choice(STRATEGIES)
            for peer in net.peers.values():
                peer.mixnet.set_mixing(mixing, net.now)
                net.wake(peer)
        if step == dies_in:
            net.kill(dead)
    return net, sent


def check(network, seed):
    net, sent = play(network, seed)
    living = [index for index in range(PEERS) if net[index].up]

    def settled():
        return all(len(net[i].acked) + len(net[i].gave_up) == sent[i] for i in living)

    net.run(3600, until=settled)
    assert settled()
    received = Counter(payload for peer in net.peers.values() for payload in peer.received)
    assert set(received.values()) <= {1}
    acknowledged = sum(len(net[i].acked) for i in range(PEERS))
    assert acknowledged <= sum(received.values())
    for index in living:
        peer = net[index]
        assert all(lost.reason is DropReason.PEER_DEAD for lost in peer.gave_up)
        assert peer.mixnet.delivery.in_flight == peer.mixnet.delivery.queued == 0
        assert peer.dropped[DropReason.BAD_MESSAGE] == peer.dropped[DropReason.UNKNOWN_SURB] == 0


@pytest.mark.parametrize("seed", range(10))
def test_every_message_is_settled(network, seed):
    check(network, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 300))
def test_every_message_is_settled_in_many_worlds(network, seed):
    check(network, seed)


def test_the_same_seed_gives_the_same_world(network):
    """But for the packets' own keys: what happens when, and to how many."""
    worlds = []
    for _ in range(2):
        net, _ = play(network, 42)
        worlds.append([(p.sent, len(p.acked), len(p.received)) for p in net.peers.values()])
    assert worlds[0] == worlds[1]
