"""The mix keys of a simulated peer, and its descriptor: what `peerd.epochs.Rotation` does, without files.

All of it is on the disk: it outlives the daemon.
"""

from __future__ import annotations

import random
from dataclasses import asdict

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.membership import About, Descriptor
from peerd.membership.descriptor import sign_descriptor
from peerd.sphinx import EpochKey, Epochs, Keyring, MixKey, ReplayFilter

REPLAY_CAPACITY = 20_000


class SimKeys:
    def __init__(
        self, identity: Ed25519PrivateKey, name: str, address: str, epochs: Epochs, rng: random.Random
    ) -> None:
        self._identity = identity
        self._name = name
        self._address = address
        self._epochs = epochs
        self._rng = rng
        self._version = 1
        self._about = self._described = About()
        self.keyring = Keyring()
        self.epoch = 0
        self.descriptor: Descriptor = sign_descriptor(identity, name, (address,))
        """As in the enrolment request, before the first start."""

    def start(self, wall: float, about: About, version: int) -> None:
        """`version`: of the last descriptor that is known of this peer; the next one's is higher."""
        self._about = about
        self._version = max(self._version, version, int(wall))
        self.update(wall)

    def update(self, wall: float) -> bool:
        """Make, accept and destroy keys as the clock says. Whether there is a new descriptor."""
        accepted = self._epochs.accepted(wall)
        self.epoch = accepted[0]
        for gone in [key.epoch for key in self.keyring if key.epoch not in {*accepted, self.epoch + 1}]:
            self.keyring.forget(gone)
        for epoch in (self.epoch, self.epoch + 1):
            if epoch not in self.keyring:
                key = MixKey.from_private(self._rng.randbytes(32))
                self.keyring.put(EpochKey(epoch, key, ReplayFilter(REPLAY_CAPACITY)))
        self.keyring.accept(accepted)
        return self._describe()

    def say(self, about: About) -> bool:
        """Something else of this peer beside its keys. Whether there is a new descriptor."""
        self._about = about
        return self._describe()

    def outbid(self, version: int) -> None:
        """Another descriptor of this peer is about, with that version: make one that is newer."""
        self._version = max(self._version, version)
        self._described = About(instance=-1)
        self._describe()

    def next_change(self, wall: float) -> float:
        return self._epochs.next_change(wall)

    def copy(self, address: str, rng: random.Random) -> SimKeys:
        """As on another host to which the state directory was copied."""
        other = SimKeys(self._identity, self._name, address, self._epochs, rng)
        other._version = self._version
        for known in self.keyring:
            other.keyring.put(EpochKey(known.epoch, known.key, ReplayFilter(REPLAY_CAPACITY)))
        return other

    def _describe(self) -> bool:
        keys = tuple((epoch, self.keyring[epoch].key.public) for epoch in (self.epoch, self.epoch + 1))
        if keys == self.descriptor.mix_keys and self._about == self._described:
            return False
        self._version += 1
        fields = asdict(self._about)
        address = fields.pop("address") or self._address
        self.descriptor = sign_descriptor(
            self._identity, self._name, (address,), keys, self._version, **fields
        )
        self._described = self._about
        return True
