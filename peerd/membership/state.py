"""All that a daemon needs of its state directory to be a peer: its keys, its bundle, and what of that was
renewed since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from peerd.config import NetworkConfig
from peerd.membership.bundle import FILE, Bundle, check_valid, descriptors_in
from peerd.membership.certificates import not_after
from peerd.membership.descriptor import Descriptor
from peerd.membership.identity import Identity
from peerd.membership.renewal import Chain, Renewal, to_pem
from peerd.store import read_bounded
from peerd.types import PeerId


@dataclass(frozen=True, slots=True)
class PeerState:
    name: str
    peer_id: PeerId
    network: NetworkConfig
    identity: Identity
    authorities: Chain
    """The CAs in force."""
    chain: Chain
    """The link certificate; then the delegate's, where one has issued it."""
    records: tuple[bytes, ...]
    """What the bundle tells of the network: encoded records, to be offered to the roster in this order."""
    delegation: x509.Certificate | None
    """The certificate by which this peer may sign in others, as of its bundle."""
    bundle_digest: str

    @classmethod
    def load(cls, state_dir: Path) -> PeerState:
        """The errors of `Identity.load` and `Bundle.load`; DeniedError for another peer's bundle, and for
        a link certificate that is not valid today."""
        identity = Identity.load(state_dir)
        path = state_dir / FILE
        read_bounded(path, 1 << 30, "the bundle; install it with `peerd join BUNDLE`")
        bundle = Bundle.load(path)
        bundle.check_is_for(identity, str(path))
        renewal = Renewal.load(state_dir, bundle.digest) or Renewal(bundle.authorities, bundle.chain)
        check_valid(renewal.chain, str(path))
        return cls(
            name=identity.name,
            peer_id=identity.peer_id,
            network=bundle.network,
            identity=identity,
            authorities=renewal.authorities,
            chain=renewal.chain,
            records=bundle.records_under(renewal.authorities),
            delegation=bundle.delegation,
            bundle_digest=bundle.digest,
        )

    def renewed(
        self,
        authorities: Iterable[x509.Certificate],
        certificate: x509.Certificate,
        delegate: x509.Certificate | None,
    ) -> PeerState:
        """With other CAs in force, and another link certificate of this peer's key, which `delegate` has
        issued (None: a CA). `self` where nothing is different."""
        chain = (certificate,) if delegate is None else (certificate, delegate)
        in_force = tuple(authorities)
        if chain == self.chain and set(in_force) == set(self.authorities):
            return self
        return replace(self, authorities=in_force, chain=chain)

    def save_renewal(self, state_dir: Path) -> None:
        """So that `load` brings back what `renewed` was told. OSError when the disk refuses."""
        Renewal(self.authorities, self.chain).save(state_dir, self.bundle_digest)

    @property
    def expiries(self) -> dict[str, float]:
        """Unix time at which each certificate ends: `link` with what it was issued by, `authority`, and
        `delegation` where there is one; of several the first."""
        ends = {"link": self.chain, "authority": self.authorities}
        if self.delegation is not None:
            ends["delegation"] = (self.delegation,)
        return {
            name: min(map(not_after, certificates)) for name, certificates in ends.items() if certificates
        }

    @property
    def certificate(self) -> x509.Certificate:
        """This peer's link certificate."""
        return self.chain[0]

    @property
    def ca_pem(self) -> bytes:
        """All CAs in force."""
        return to_pem(self.authorities).encode()

    @property
    def certificate_pem(self) -> bytes:
        """The chain that this peer presents."""
        return to_pem(self.chain).encode()

    @property
    def link_key_pem(self) -> bytes:
        return self.identity.link_key_pem

    @property
    def roster(self) -> tuple[Descriptor, ...]:
        """The peers whose addresses the bundle tells, this one included, by name."""
        return descriptors_in(self.records)

    @property
    def is_delegate(self) -> bool:
        return self.delegation is not None
