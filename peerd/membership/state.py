"""All that a daemon needs of its state directory to be a peer: its keys and its bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peerd.config import NetworkConfig
from peerd.membership.bundle import FILE, Bundle
from peerd.membership.descriptor import Descriptor
from peerd.membership.identity import Identity
from peerd.store import read_bounded
from peerd.types import PeerId


@dataclass(frozen=True, slots=True)
class PeerState:
    name: str
    peer_id: PeerId
    network: NetworkConfig
    roster: tuple[Descriptor, ...]
    ca_pem: bytes
    certificate_pem: bytes
    identity: Identity

    @classmethod
    def load(cls, state_dir: Path) -> PeerState:
        """The errors of `Identity.load` and `Bundle.load`; DeniedError for another peer's bundle."""
        identity = Identity.load(state_dir)
        path = state_dir / FILE
        read_bounded(path, 1 << 30, "the bundle; install it with `peerd join BUNDLE`")
        bundle = Bundle.load(path)
        bundle.check_belongs_to(identity, str(path))
        return cls(
            name=identity.name,
            peer_id=identity.peer_id,
            network=bundle.network,
            roster=bundle.roster,
            ca_pem=bundle.ca_pem,
            certificate_pem=bundle.certificate_pem,
            identity=identity,
        )

    @property
    def link_key_pem(self) -> bytes:
        return self.identity.link_key_pem
