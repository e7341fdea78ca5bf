"""A simulated host: what of a peer outlives its daemon, and how it fares."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.membership.descriptor import peer_id_of
from peerd.sim.keys import SimKeys
from peerd.store import Saved
from peerd.types import PeerId

BEGINNING = 1e6
"""Unix time when virtual time begins."""


@dataclass(eq=False)
class Host:
    index: int
    name: str
    address: str
    identity: Ed25519PrivateKey
    rng: random.Random
    keys: SimKeys
    skew: float
    """Seconds by which its wall clock is ahead."""
    certificate: x509.Certificate
    bundle: tuple[bytes, ...] = ()
    """Records that the authority has given it."""
    roster: bytes = b""
    """As it was saved last."""
    checkpoint: Saved | None = None
    frozen: bool = False

    @property
    def peer_id(self) -> PeerId:
        return peer_id_of(self.identity.public_key().public_bytes_raw())

    @property
    def secret(self) -> bytes:
        """For message ids."""
        return hashlib.blake2b(self.identity.private_bytes_raw(), digest_size=32).digest()

    def wall(self, now: float) -> float:
        """Its own idea of Unix time."""
        return BEGINNING + now + self.skew
