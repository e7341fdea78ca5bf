"""Random schedules of faults on the virtual clock: whatever happens, nothing is lost without a word.

What a fault may change beyond delay, and nothing else may:

    death, partition   messages to a peer that counts as dead are given up as PEER_DEAD
    restart            the peer has forgotten what it had to send, its SURBs and which messages it has had:
                       late answers are UNKNOWN_SURB there, and a resend may be handed on a second time
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from peerd.config import DeliveryConfig, MixingConfig
from peerd.sphinx import Epochs
from peerd.types import DropReason

PEERS = 7
EPOCHS = Epochs(5.0, 3.0)
SKEW = 0.5
STEPS = 8
PATIENT = DeliveryConfig(max_attempts=30)
"""With losses of 5 % on each of eight links an attempt in three fails: ten would not be enough for all."""
STRATEGIES = (
    {"mean_delay_seconds": 0.05},
    {"mean_delay_seconds": 0.2},
    {"strategy": "outbox", "outbox_interval_seconds": 0.05, "outbox_jitter_seconds": 0.01},
    {"strategy": "threshold", "threshold_size": 4, "threshold_patience_seconds": 0.3},
    {"strategy": "timed", "timed_interval_seconds": 0.1},
    {"strategy": "pool", "pool_interval_seconds": 0.1, "pool_minimum": 2, "loop_rate_per_second": 0.5},
    {"strategy": "none"},
)
CALM = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)


def draw_mixing(rng: random.Random) -> MixingConfig:
    cover = {"loop_rate_per_second": rng.choice([0.0, 0.3]), "drop_rate_per_second": rng.choice([0.0, 0.3])}
    rest = {
        "hops": rng.choice([1, 2, 3]),
        "send_rate_per_second": rng.choice([0.0, 0.0, 8.0]),
        "direct": rng.random() < 0.1,
    }
    return MixingConfig(**(cover | rest | rng.choice(STRATEGIES)))


class Play:
    """Bursts of messages, losses, copies, bit flips, switches of everything, one death and return, one
    partition and its end, under rotating keys and clocks that differ: all of it from the seed."""

    def __init__(self, network, seed: int) -> None:
        self.net = network(
            PEERS, seed=seed, epochs=EPOCHS, skew_seconds=SKEW, dead_after=1.0, delivery=PATIENT
        )
        self.rng = self.net.rng
        self.net.tamper = self._tamper
        self.net.loss = self.rng.choice([0.0, 0.01, 0.05])
        self.mortal = self.rng.randrange(PEERS)
        self.sent: Counter[int] = Counter()
        self.before = 0
        """What the mortal had settled when it died."""
        self._number = 0
        dies, cut = self.rng.randrange(1, 4), self.rng.randrange(1, 6)
        events = {
            dies: self._die,
            dies + self.rng.randrange(1, 3): self._return,
            cut + 0.5: self._cut,
            cut + 1.5: self.net.heal,
        }
        for step in range(STEPS):
            self._burst()
            self.net.run(self.rng.random() * 3)
            if self.rng.random() < 0.6:
                only = self.rng.sample(range(PEERS), 4) if self.rng.random() < 0.3 else None
                self.net.set_mixing(draw_mixing(self.rng), only)
            for moment in (step, step + 0.5):
                if moment in events:
                    events[moment]()

    def _burst(self) -> None:
        for _ in range(self.rng.randrange(30)):
            sender, recipient = self.rng.sample(range(PEERS), 2)
            peer = self.net[sender]
            if peer.up and self.net.ids[recipient] in peer.view.alive():
                self._number += 1
                self.net.send(sender, recipient, f"{self._number}:{recipient}".encode())
                self.sent[sender] += 1

    def _tamper(self, packet: bytes) -> list[bytes]:
        fate = self.rng.random()
        if fate < 0.01:
            return [packet, packet]
        if fate < 0.02:
            at = self.rng.randrange(len(packet))
            return [packet[:at] + bytes([packet[at] ^ 1 << self.rng.randrange(8)]) + packet[at + 1 :]]
        return [packet]

    def _die(self) -> None:
        self.net.kill(self.mortal)
        peer = self.net[self.mortal]
        self.before = len(peer.acked) + len(peer.gave_up)
        self.sent[self.mortal] = 0

    def _return(self) -> None:
        self.net.restart(self.mortal)

    def _cut(self) -> None:
        order = self.rng.sample(range(PEERS), PEERS)
        at = self.rng.randrange(1, PEERS)
        self.net.partition(order[:at], order[at:])

    def settled(self) -> bool:
        return all(self._settled(index) == self.sent[index] for index in range(PEERS))

    def _settled(self, index: int) -> int:
        peer = self.net[index]
        return len(peer.acked) + len(peer.gave_up) - (self.before if index == self.mortal else 0)


def check(network, seed: int) -> None:
    play = Play(network, seed)
    net = play.net
    net.run(10, until=play.settled)
    net.set_mixing(CALM)  # the tail of a few resends is cheaper without cover
    net.run(3600, until=play.settled)
    assert play.settled()

    received = Counter(payload for peer in net.peers.values() for payload in peer.received)
    twice = {payload for payload, count in received.items() if count > 1}
    assert all(payload.endswith(b":%d" % play.mortal) for payload in twice)
    assert set(received.values()) <= {1, 2}
    acknowledged = sum(len(net[i].acked) for i in range(PEERS))
    assert acknowledged <= sum(received.values())
    for index in range(PEERS):
        peer = net[index]
        assert all(lost.reason is DropReason.PEER_DEAD for lost in peer.gave_up)
        assert peer.mixnet.delivery.in_flight == peer.mixnet.delivery.queued == 0
        assert peer.dropped[DropReason.BAD_MESSAGE] == 0
        assert peer.dropped[DropReason.UNKNOWN_SURB] == 0 or index == play.mortal
        assert peer.dropped[DropReason.NEXT_HOP_SELF] == peer.dropped[DropReason.BAD_COMMAND] == 0
        epoch = EPOCHS.at(1e6 + net.now)
        assert {key.epoch for key in peer.keyring} <= {epoch - 1, epoch, epoch + 1, epoch + 2}
        assert len(list(peer.keyring)) <= 3


@pytest.mark.parametrize("seed", range(8))
def test_every_message_is_settled(network, seed):
    check(network, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8, 532))
def test_every_message_is_settled_in_many_worlds(network, seed):
    check(network, seed)


def test_the_faults_do_happen(network):
    """Or the tests above would be of calm networks."""
    happened: Counter[str] = Counter()
    for seed in range(6):
        net = Play(network, seed).net
        for peer in net.peers.values():
            happened.update({reason.value: count for reason, count in peer.dropped.items()})
            happened["resent"] += peer.resent
            happened["epochs"] += min(key.epoch for key in peer.keyring) > 200_000
    for fault in ("replay", "bad_mac", "bad_body", "link_down", "resent", "epochs"):
        assert happened[fault] > 0, fault


def test_the_same_seed_gives_the_same_world_to_the_last_byte(network):
    digests = [Play(network, seed).net.digest() for seed in (42, 42, 43)]
    assert digests[0] == digests[1] != digests[2]
