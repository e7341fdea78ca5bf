"""The world: peers that all know each other, links with delay and loss, crashes, partitions, epochs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.membership import Change, Descriptor, View
from peerd.relay import Mixnet
from peerd.relay.trace import Tracer
from peerd.sim.announcer import Announcer, announce_interval
from peerd.sim.peer import SimPeer
from peerd.sim.wires import Wires
from peerd.sphinx import Epochs, Geometry
from peerd.types import DropReason, PeerId

FOREVER = Epochs(1e18, 1.0)
"""One epoch without end."""
NEVER_DAMPED = 1e9


class World(Wires):
    """`World(peers=20, seed=1)`, then `send`, `run`, and look at the peers.

    `dead_after` is how long a peer without a link is only suspect. `epochs`: keys rotate and descriptors are
    told to all neighbours; without them one key lasts for ever. Who is to join, leave or be revoked, and
    what gossip makes of that, is for `Network`.
    """

    def __init__(
        self,
        peers: int,
        seed: int,
        *,
        mixing: MixingConfig | None = None,
        delivery: DeliveryConfig | None = None,
        relay: RelayConfig | None = None,
        geometry: Geometry | None = None,
        epochs: Epochs = FOREVER,
        latency_seconds: float = 0.001,
        loss: float = 0.0,
        dead_after: float = 0.0,
        skew_seconds: float = 0.0,
        trace: Tracer | None = None,
    ) -> None:
        super().__init__(seed, latency_seconds, loss)
        self.mixing = mixing or MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)
        self._geometry = geometry or Geometry(max_hops=5, body_bytes=1024)
        self._delivery = delivery or DeliveryConfig()
        self._relay = relay or RelayConfig()
        self._epochs = epochs
        self._dead_after = dead_after
        self._tracer = trace
        self._cut: set[tuple[int, int]] = set()
        self._peers: list[SimPeer] = []
        for index in range(peers):
            identity = Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32))
            own = random.Random(self.rng.getrandbits(64))  # noqa: S311
            self._peers.append(SimPeer(index, identity, own))
        self._skew = {peer: skew_seconds * (2 * self.rng.random() - 1) for peer in self._peers}
        self.peers: dict[PeerId, SimPeer] = {peer.peer_id: peer for peer in self._peers}
        self.ids = list(self.peers)
        for peer in self._peers:
            peer.rotate(epochs, self._wall(peer))
        for peer in self._peers:
            self._boot(peer)
        for peer in self._peers:
            self._connect(peer)

    def __getitem__(self, index: int) -> SimPeer:
        return self._peers[index]

    # -- what happens -----------------------------------------------------------

    def send(self, sender: int, recipient: int, payload: bytes, tag: int = 0) -> None:
        """Queue a message. RuntimeError where the sender's queue is full."""
        peer = self._peers[sender]
        refused = peer.mixnet.delivery.send(self.ids[recipient], payload, tag)
        if refused is not None:
            raise RuntimeError(f"message refused: {refused}")
        self.wake(peer)

    def inject(self, target: int, packet: bytes) -> None:
        """Somebody hands a peer a packet, now: an adversary's, or one that was recorded on a wire."""
        self.at(self.now, lambda: self._arrive(self._peers[target], packet))

    def set_mixing(self, mixing: MixingConfig, only: Iterable[int] | None = None) -> None:
        """At runtime, on all peers or on some."""
        for index in range(len(self._peers)) if only is None else only:
            peer = self._peers[index]
            if peer.up:
                peer.mixnet.set_mixing(mixing, self.now)
                self.wake(peer)

    def kill(self, index: int) -> None:
        """It stops at once; its links break, and `dead_after` later the others call it dead."""
        victim = self._peers[index]
        victim.up = False
        for peer in self._peers:
            if peer.up and peer is not victim:
                self._link(peer, victim, False)

    def restart(self, index: int) -> None:
        """It comes back with its identity, mix keys and replay tags, and nothing else."""
        peer = self._peers[index]
        peer.up = True
        peer.rotate(self._epochs, self._wall(peer))
        self._boot(peer)
        self._connect(peer)
        for other in self._peers:
            if other.up and other is not peer and not self._is_cut(other, peer):
                self._hear(other, peer.descriptor)
                self._link(other, peer, True)

    def partition(self, *groups: Collection[int]) -> None:
        """Links between different groups break; peers in no group stay with the first."""
        of = {index: number for number, group in enumerate(groups) for index in group}
        for peer, other in itertools.permutations(self._peers, 2):
            if of.get(peer.index, 0) != of.get(other.index, 0):
                self._cut.add((peer.index, other.index))
                if peer.up:
                    self._link(peer, other, False)

    def heal(self) -> None:
        """All links come back, and with them the descriptors."""
        cut, self._cut = self._cut, set()
        for one, two in sorted(cut):
            peer, other = self._peers[one], self._peers[two]
            if peer.up and other.up:
                self._hear(other, peer.descriptor)
                self._link(peer, other, True)

    def wake(self, peer: SimPeer) -> None:
        """Something changed: ask it when it wants its next turn."""
        deadline = peer.mixnet.next_deadline(self.now)
        if deadline is None:
            return
        deadline = max(deadline, self.now)
        if peer.wake_at is None or deadline < peer.wake_at or peer.wake_at < self.now:
            peer.wake_at = deadline
            self.at(deadline, lambda: self._woken(peer))

    # -- what is measured -------------------------------------------------------

    def meter_bits(self) -> float:
        """Mean of the peers' entropy meters over all departures since `reset_meters`; 0 without any."""
        mixed = sum(peer.mixed for peer in self._peers)
        return sum(peer.mixed_bits for peer in self._peers) / mixed if mixed else 0.0

    def reset_meters(self) -> None:
        for peer in self._peers:
            peer.mixed_bits, peer.mixed = 0.0, 0

    # -- how --------------------------------------------------------------------

    def _wall(self, peer: SimPeer) -> float:
        """The peer's own idea of the time; never negative."""
        return max(self.now + self._skew[peer] + 1e6, 0.0)

    def _boot(self, peer: SimPeer) -> None:
        peer.view = View(
            peer.peer_id,
            dead_after=self._dead_after,
            flap_limit=NEVER_DAMPED,
            flap_half_life=1.0,
            epoch=self._epochs.at(self._wall(peer)),
        )
        for other in self._peers:
            peer.view.add(other.peer_id, self.now)
            peer.view.learn(other.descriptor, self.now)
        peer.mixnet = Mixnet(
            me=peer.peer_id,
            geometry=self._geometry,
            keyring=peer.keyring,
            directory=peer.view,
            mixing=self.mixing,
            delivery=self._delivery,
            relay=self._relay,
            rng=peer.rng,
            now=self.now,
            emit=lambda to, packet: self._emit(peer, to, packet),
            journal=lambda _epoch, tags: peer.journal.extend(tags),
            dropped=lambda reason: peer.dropped.update([reason]),
            sent=lambda kind: peer.sent.update([kind]),
            mixed=peer.mixed_by,
            tracer=self._tracer,
        )
        peer.wake_at = None
        if self._epochs is not FOREVER:
            peer.announcer = Announcer(announce_interval(self._epochs.seconds), peer.rng)
            self._rotate_later(peer, peer.mixnet)
            self._announce(peer, peer.mixnet)
        self.wake(peer)

    def _connect(self, peer: SimPeer) -> None:
        for other in self._peers:
            if other is not peer and other.up and not self._is_cut(peer, other):
                self._link(peer, other, True)

    def _is_cut(self, peer: SimPeer, other: SimPeer) -> bool:
        return (peer.index, other.index) in self._cut

    def _link(self, peer: SimPeer, other: SimPeer, up: bool) -> None:
        """What the link table of `peer` tells it of its own link to `other`."""
        if up:
            self._changed(peer, peer.view.link_up(other.peer_id, self.now))
        else:
            self._changed(peer, peer.view.link_down(other.peer_id, self.now))
            self._tick_later(peer)

    def _tick_later(self, peer: SimPeer) -> None:
        """When somebody that is not fit any more will be dead."""
        deadline, mixnet = peer.view.next_deadline(), peer.mixnet
        if deadline is not None:
            self.at(deadline, lambda: self._tick(peer, mixnet))

    def _tick(self, peer: SimPeer, mixnet: Mixnet) -> None:
        if peer.up and peer.mixnet is mixnet:
            self._changed(peer, peer.view.tick(self.now))
            self._tick_later(peer)

    def _changed(self, peer: SimPeer, changes: list[Change]) -> None:
        for change in changes:
            match change.state:
                case "dead" | "revoked":
                    peer.take(peer.mixnet.peer_died(change.peer, self.now))
                case "left":
                    peer.take(peer.mixnet.peer_left(change.peer))
        if changes:
            self.wake(peer)

    def _rotate_later(self, peer: SimPeer, mixnet: Mixnet) -> None:
        wait = self._epochs.next_change(self._wall(peer)) - self._wall(peer)
        self.at(self.now + wait, lambda: self._rotate(peer, mixnet))

    def _rotate(self, peer: SimPeer, mixnet: Mixnet) -> None:
        if not peer.up or peer.mixnet is not mixnet:
            return
        wall = self._wall(peer)
        peer.rotate(self._epochs, wall)
        peer.view.learn(peer.descriptor, self.now)
        self._changed(peer, peer.view.set_epoch(self._epochs.at(wall), self.now))
        mixnet.keys_changed()
        self._rotate_later(peer, mixnet)
        self._tick_later(peer)  # who has not told us its key of this epoch is not fit
        self.wake(peer)

    def _announce(self, peer: SimPeer, mixnet: Mixnet) -> None:
        if not peer.up or peer.mixnet is not mixnet or peer.announcer is None:
            return
        reachable = [o for o in self._peers if o is not peer and o.up and not self._is_cut(peer, o)]
        by_id = {other.peer_id: other for other in reachable}
        for told in peer.announcer.due(by_id.keys(), self.now):
            self._hear(by_id[told], peer.descriptor)
        deadline = peer.announcer.next_deadline()
        later = self.now + 1.0 if deadline is None else deadline
        self.at(later, lambda: self._announce(peer, mixnet))

    def _hear(self, peer: SimPeer, descriptor: Descriptor) -> None:
        """As decoded where it was signed: to do so again for each who hears it is most of the time."""
        self._changed(peer, peer.view.learn(descriptor, self.now))

    def _emit(self, source: SimPeer, to: PeerId, packet: bytes) -> DropReason | None:
        target = self.peers[to]
        if not target.up or self._is_cut(source, target):
            return DropReason.LINK_DOWN
        self.carry(source.index, target.index, packet, lambda arriving: self._arrive(target, arriving))
        return None

    def _arrive(self, peer: SimPeer, packet: bytes) -> None:
        if peer.up:
            peer.mixnet.arrived(packet, self.now)
            self._turn(peer)

    def _woken(self, peer: SimPeer) -> None:
        if peer.up:
            if peer.wake_at is not None and peer.wake_at <= self.now:
                peer.wake_at = None
            self._turn(peer)

    def _turn(self, peer: SimPeer) -> None:
        peer.take(peer.mixnet.turn(self.now))
        self.wake(peer)
