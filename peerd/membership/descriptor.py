"""A peer's signed description of itself: where it listens, with which keys, and what it is about to do.

The signed bytes are kept as they came, so that a descriptor is passed on exactly as it was signed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError

from peerd.config import parse_address
from peerd.errors import InvalidInputError
from peerd.pb import gossip_pb2
from peerd.sphinx import is_public_mix_key
from peerd.types import PEER_ID_BYTES, PeerId

DOMAIN = b"peerd descriptor v1\0"
MAX_BYTES = 4096
MAX_MIX_KEYS = 2
MAX_ADDRESSES = 8
RUN_BYTES = 16
MODEL_BYTES = 8
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}", re.ASCII)
SOFTWARE = re.compile(r"[!-~]{0,32}", re.ASCII)
"""A version number as Python packages have it; it is printed as it is."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    peer_id: PeerId
    name: str
    addresses: tuple[str, ...]
    """host:port, at least one; the first is dialled."""
    mix_keys: tuple[tuple[int, bytes], ...]
    """(epoch, X25519 public key), of one epoch and the next; none before the peer's first start."""
    version: int
    leaving: bool
    """Drained, or about to be: no new packets through it or for it."""
    run: bytes
    """16 bytes of the run that it takes part in; empty: none."""
    contributes_from: int
    """The first round that has its fragments; 0: it only listens yet."""
    finished: bool
    """It ended before the run's last round: that one was its last, too."""
    model: bytes
    """8 bytes of a hash of the form of the model that it trains; empty: it does not know yet."""
    instance: int
    """Drawn at each start of its daemon; 0 before the first."""
    started_at: float
    """Of this instance: Unix time by its own clock, seconds."""
    software: str
    """Its version of peerd; empty before its first start."""
    signed: bytes
    """The encoded SignedDescriptor that all of the above was read from."""

    @property
    def address(self) -> str:
        return self.addresses[0]

    def key_for(self, epoch: int) -> bytes | None:
        """The public mix key for a packet made in this epoch; None where all that is known is over.

        A peer whose clock is ahead has only later keys: its first one then, which it accepts already.
        """
        for known, key in self.mix_keys:
            if known >= epoch:
                return key
        return None


def peer_id_of(identity_public: bytes) -> PeerId:
    """The head of the SHA-256 of the 32-byte Ed25519 public key."""
    return PeerId(hashlib.sha256(identity_public).digest()[:PEER_ID_BYTES])


def check_name(name: str) -> str:
    """Raises InvalidInputError unless `name` may be a peer's."""
    if not NAME.fullmatch(name):
        raise InvalidInputError(
            f"name {name!r}: allowed are 1 to 31 lower-case letters, digits and hyphens, "
            "not starting with a hyphen"
        )
    return name


def check_address(address: str, where: str = "address") -> str:
    """Raises InvalidInputError unless `address` is a host:port that others can dial."""
    _, port = parse_address(address, where)
    if port == 0:
        raise InvalidInputError(f"{where}: {address}: port 0 cannot be dialled; name the real one")
    return address


def sign_descriptor(
    identity: Ed25519PrivateKey,
    name: str,
    addresses: tuple[str, ...],
    mix_keys: tuple[tuple[int, bytes], ...] = (),
    version: int = 1,
    *,
    leaving: bool = False,
    run: bytes = b"",
    contributes_from: int = 0,
    finished: bool = False,
    model: bytes = b"",
    instance: int = 0,
    started_at: float = 0.0,
    software: str = "",
) -> Descriptor:
    """Make and sign one's own descriptor. InvalidInputError or ValueError for what no descriptor may say."""
    body = gossip_pb2.Descriptor(
        identity_key=identity.public_key().public_bytes_raw(),
        name=name,
        addresses=addresses,
        mix_keys=[gossip_pb2.MixKey(epoch=epoch, key=key) for epoch, key in mix_keys],
        version=version,
        leaving=leaving,
        run=run,
        contributes_from=contributes_from,
        finished=finished,
        model=model,
        instance=instance,
        started_at_ms=round(started_at * 1000),
        software=software,
    ).SerializeToString(deterministic=True)
    signature = identity.sign(DOMAIN + body)
    signed = gossip_pb2.SignedDescriptor(descriptor=body, signature=signature)
    descriptor = decode_descriptor(signed.SerializeToString(deterministic=True))
    if descriptor is None:
        raise InvalidInputError("the descriptor of this peer does not meet its own rules")
    return descriptor


def decode_descriptor(data: bytes) -> Descriptor | None:
    """Read and verify anybody's descriptor; None for any bytes that are not a valid one."""
    if len(data) > MAX_BYTES:
        return None
    try:
        signed = gossip_pb2.SignedDescriptor.FromString(data)
        body = gossip_pb2.Descriptor.FromString(signed.descriptor)
        mix_keys = tuple((known.epoch, known.key) for known in body.mix_keys)
        if len(body.identity_key) != 32 or not _in_order(mix_keys):
            return None
        public = Ed25519PublicKey.from_public_bytes(body.identity_key)
        public.verify(signed.signature, DOMAIN + signed.descriptor)
        if not NAME.fullmatch(body.name) or not 1 <= len(body.addresses) <= MAX_ADDRESSES:
            return None
        if len(body.run) not in (0, RUN_BYTES) or len(body.model) not in (0, MODEL_BYTES):
            return None
        if not SOFTWARE.fullmatch(body.software):
            return None
        for address in body.addresses:
            check_address(address)
    except (DecodeError, InvalidSignature, InvalidInputError, ValueError):
        return None
    return Descriptor(
        peer_id=peer_id_of(body.identity_key),
        name=body.name,
        addresses=tuple(body.addresses),
        mix_keys=mix_keys,
        version=body.version,
        leaving=body.leaving,
        run=body.run,
        contributes_from=body.contributes_from,
        finished=body.finished,
        model=body.model,
        instance=body.instance,
        started_at=body.started_at_ms / 1000,
        software=body.software,
        signed=data,
    )


def _in_order(mix_keys: tuple[tuple[int, bytes], ...]) -> bool:
    """At most two usable keys, of one epoch and the one after it."""
    if len(mix_keys) > MAX_MIX_KEYS or not all(is_public_mix_key(key) for _, key in mix_keys):
        return False
    return all(later == earlier + 1 for (earlier, _), (later, _) in pairwise(mix_keys))
