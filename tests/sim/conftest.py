"""A whole mixnet on a virtual clock: real cores, no socket, no thread, one seed."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.delivery import Acked, Event, GaveUp, Inject, LoopReturned, Received
from peerd.relay import Mixnet
from peerd.sphinx import Geometry, MixKey, ReplayFilter
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)


@dataclass
class SimPeer:
    peer_id: PeerId
    key: MixKey
    mixnet: Mixnet = field(init=False)
    up: bool = True
    received: list[bytes] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    gave_up: list[GaveUp] = field(default_factory=list)
    resent: int = 0
    loops: int = 0
    dropped: Counter[DropReason] = field(default_factory=Counter)
    sent: Counter[PacketKind] = field(default_factory=Counter)
    journal: list[bytes] = field(default_factory=list)
    wake_at: float | None = None

    def take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Received(payload=payload):
                    self.received.append(payload)
                case Acked():
                    self.acked.append(event)
                case GaveUp():
                    self.gave_up.append(event)
                case LoopReturned():
                    self.loops += 1
                case Inject():
                    self.resent += 1


class SimDirectory:
    def __init__(self, network: SimNetwork, me: PeerId) -> None:
        self._network = network
        self._me = me

    def alive(self) -> list[PeerId]:
        return [p for p, peer in self._network.peers.items() if peer.up and p != self._me]

    def mix_key(self, peer: PeerId) -> bytes | None:
        known = self._network.peers.get(peer)
        return None if known is None else known.key.public


class SimNetwork:
    """`deliver` may be replaced: (sender, recipient, packet) -> packets that really arrive."""

    def __init__(
        self,
        count: int,
        seed: int,
        *,
        loss: float = 0.0,
        latency: float = 0.001,
        mixing: MixingConfig | None = None,
        delivery: DeliveryConfig | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.loss = loss
        self.latency = latency
        self.mixing = mixing or MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)
        self.tamper: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self._events: list[tuple[float, int, PeerId, bytes | None]] = []
        self._order = itertools.count()
        self.peers: dict[PeerId, SimPeer] = {}
        for _ in range(count):
            peer_id = PeerId(self.rng.randbytes(16))
            self.peers[peer_id] = SimPeer(peer_id, MixKey.generate())
        self.ids = list(self.peers)
        for peer in self.peers.values():
            peer.mixnet = self._mixnet(peer, delivery or DeliveryConfig())
            self.wake(peer)

    def __getitem__(self, index: int) -> SimPeer:
        return self.peers[self.ids[index]]

    def _mixnet(self, peer: SimPeer, delivery: DeliveryConfig) -> Mixnet:
        return Mixnet(
            me=peer.peer_id,
            geometry=GEOMETRY,
            key=peer.key,
            replay=ReplayFilter(100_000),
            directory=SimDirectory(self, peer.peer_id),
            mixing=self.mixing,
            delivery=delivery,
            relay=RelayConfig(),
            rng=random.Random(self.rng.random()),
            now=self.now,
            emit=self._emit,
            journal=peer.journal.extend,
            dropped=lambda reason: peer.dropped.update([reason]),
            sent=lambda kind: peer.sent.update([kind]),
        )

    def _emit(self, to: PeerId, packet: bytes) -> DropReason | None:
        if self.rng.random() < self.loss:
            return None
        for arriving in self.tamper(packet):
            self._at(self.now + self.latency * (0.5 + self.rng.random()), to, arriving)
        return None

    def _at(self, when: float, peer: PeerId, packet: bytes | None) -> None:
        heapq.heappush(self._events, (when, next(self._order), peer, packet))

    def wake(self, peer: SimPeer) -> None:
        deadline = peer.mixnet.next_deadline(self.now)
        if deadline is None:
            return
        deadline = max(deadline, self.now)
        if peer.wake_at is None or deadline < peer.wake_at or peer.wake_at < self.now:
            peer.wake_at = deadline
            self._at(deadline, peer.peer_id, None)

    def send(self, sender: int, recipient: int, payload: bytes, tag: int = 0) -> None:
        peer = self[sender]
        assert peer.mixnet.delivery.send(self.ids[recipient], payload, tag) is None
        self.wake(peer)

    def kill(self, index: int) -> None:
        victim = self[index]
        victim.up = False
        for peer in self.peers.values():
            if peer.up:
                peer.take(peer.mixnet.peer_died(victim.peer_id, self.now))
                self.wake(peer)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end and not until():
            self.now, _, peer_id, packet = heapq.heappop(self._events)
            peer = self.peers[peer_id]
            if not peer.up:
                continue
            if packet is not None:
                peer.mixnet.arrived(packet)
            elif peer.wake_at is not None and peer.wake_at <= self.now:
                peer.wake_at = None
            peer.take(peer.mixnet.turn(self.now))
            self.wake(peer)
        if not until():
            self.now = end


@pytest.fixture
def network() -> Callable[..., SimNetwork]:
    return SimNetwork
