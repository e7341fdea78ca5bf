"""Mix keys: the X25519 key pair with which a peer takes its layer off a packet."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from peerd.sphinx.group import SCALAR_BYTES, X25519

MIX_KEY_BYTES = SCALAR_BYTES
_GROUP = X25519()


@dataclass(frozen=True, slots=True)
class MixKey:
    """A key pair; equal where the public halves are, and `repr` shows only that half."""

    private: bytes = field(repr=False, compare=False)
    """32 bytes; not for anyone else."""
    public: bytes
    """32 bytes, published in the peer's descriptor."""
    exponent: X25519PrivateKey = field(repr=False, compare=False)
    """The private half, loaded once: that saves its derivation for every packet."""

    @classmethod
    def generate(cls) -> MixKey:
        return cls.from_private(os.urandom(MIX_KEY_BYTES))

    @classmethod
    def from_private(cls, private: bytes) -> MixKey:
        """Raises ValueError where it is not 32 bytes."""
        if len(private) != MIX_KEY_BYTES:
            raise ValueError(f"a mix key is {MIX_KEY_BYTES} bytes long, not {len(private)}")
        exponent = X25519PrivateKey.from_private_bytes(private)
        return cls(private, exponent.public_key().public_bytes_raw(), exponent)


def is_public_mix_key(data: bytes) -> bool:
    """Whether a stranger's key may be used in a path: for descriptors, before they enter a view."""
    return _GROUP.in_group(data)
