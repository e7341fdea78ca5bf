"""One simulated peer: its cores, and what its node would have counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.delivery import Acked, Event, GaveUp, Inject, LoopLost, LoopReturned, Received
from peerd.membership import Descriptor, View
from peerd.membership.descriptor import peer_id_of, sign_descriptor
from peerd.relay import Mixnet
from peerd.sim.announcer import Announcer
from peerd.sphinx import EpochKey, Epochs, Keyring, MixKey, ReplayFilter
from peerd.types import DropReason, PacketKind, PeerId

REPLAY_CAPACITY = 1_000_000


@dataclass(eq=False)
class SimPeer:
    """`mixnet`, `view` and `announcer` are made anew when it restarts; identity, keys and tags stay."""

    index: int
    identity: Ed25519PrivateKey
    rng: random.Random
    keyring: Keyring = field(default_factory=Keyring)
    descriptor: Descriptor = field(init=False)
    mixnet: Mixnet = field(init=False)
    view: View = field(init=False)
    announcer: Announcer | None = None
    up: bool = True
    on_received: Callable[[bytes], None] | None = None
    """Told of every message, beside `received`."""
    received: list[bytes] = field(default_factory=list)
    acked: list[Acked] = field(default_factory=list)
    gave_up: list[GaveUp] = field(default_factory=list)
    resent: int = 0
    loops: int = 0
    loops_lost: int = 0
    dropped: Counter[DropReason] = field(default_factory=Counter)
    sent: Counter[PacketKind] = field(default_factory=Counter)
    journal: list[bytes] = field(default_factory=list)
    mixed_bits: float = 0.0
    """Sum of the entropy meter over `mixed` packets."""
    mixed: int = 0
    wake_at: float | None = None

    @cached_property
    def peer_id(self) -> PeerId:
        return peer_id_of(self.identity.public_key().public_bytes_raw())

    def rotate(self, epochs: Epochs, wall: float) -> None:
        """What `peerd.epochs.Rotation` does, without the files."""
        accepted = epochs.accepted(wall)
        wanted = (accepted[0], accepted[0] + 1)
        for epoch in [key.epoch for key in self.keyring if key.epoch not in {*accepted, *wanted}]:
            self.keyring.forget(epoch)
        for epoch in wanted:
            if epoch not in self.keyring:
                key = MixKey.from_private(self.rng.randbytes(32))
                self.keyring.put(EpochKey(epoch, key, ReplayFilter(REPLAY_CAPACITY)))
        self.keyring.accept(accepted)
        self.describe(wanted)

    def describe(self, epochs: tuple[int, ...]) -> None:
        keys = tuple((epoch, self.keyring[epoch].key.public) for epoch in epochs)
        address = f"192.0.2.1:{1 + self.index}"
        self.descriptor = sign_descriptor(self.identity, f"peer{self.index}", (address,), keys, 1 + epochs[0])

    def mixed_by(self, _strategy: str, bits: float, count: int) -> None:
        self.mixed_bits += bits * count
        self.mixed += count

    def take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Received(payload=payload):
                    self.received.append(payload)
                    if self.on_received is not None:
                        self.on_received(payload)
                case Acked():
                    self.acked.append(event)
                case GaveUp():
                    self.gave_up.append(event)
                case LoopReturned():
                    self.loops += 1
                case LoopLost():
                    self.loops_lost += 1
                case Inject():
                    self.resent += 1
