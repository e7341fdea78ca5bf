"""What the authority gives a peer: the network's parameters, certificates and the roster. All public.

JSON, signed by the network's CA. Whoever hands a first bundle to a peer decides which network it
joins; later bundles must come from the same CA.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from peerd.config import NetworkConfig, convert
from peerd.errors import ConflictError, DeniedError, InvalidInputError
from peerd.membership.descriptor import Descriptor, decode_descriptor
from peerd.membership.identity import Identity
from peerd.store import read_bounded, write_atomic

FILE = "bundle.json"
DOMAIN = b"peerd bundle v1\0"
MAX_BYTES = 64 << 20


class _Signed(msgspec.Struct, forbid_unknown_fields=True):
    body: bytes
    signature: bytes


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    network: dict[str, object]
    ca: str
    certificate: str
    peer_id: str
    roster: list[bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    network: NetworkConfig
    ca_pem: bytes
    certificate_pem: bytes
    peer_id: str
    """Hex; the peer that the link certificate is for."""
    roster: tuple[Descriptor, ...]
    """Every enrolled peer, this one included, by name."""
    encoded: bytes

    @classmethod
    def make(
        cls,
        network: NetworkConfig,
        ca_pem: bytes,
        ca_key: ec.EllipticCurvePrivateKey,
        peer: Descriptor,
        certificate_pem: bytes,
        roster: tuple[Descriptor, ...],
    ) -> Bundle:
        """The authority's side: sign one for `peer`."""
        body = msgspec.json.encode(
            _Body(
                network=msgspec.to_builtins(network),
                ca=ca_pem.decode(),
                certificate=certificate_pem.decode(),
                peer_id=peer.peer_id.hex(),
                roster=[descriptor.signed for descriptor in roster],
            )
        )
        signature = ca_key.sign(DOMAIN + body, ec.ECDSA(hashes.SHA256()))
        return cls(
            network=network,
            ca_pem=ca_pem,
            certificate_pem=certificate_pem,
            peer_id=peer.peer_id.hex(),
            roster=roster,
            encoded=msgspec.json.encode(_Signed(body, signature)),
        )

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """NotFoundError, InvalidInputError or DeniedError, in one line that names the file."""
        data = read_bounded(path, MAX_BYTES, "a bundle; get one from the network's authority")
        return cls.decode(data, str(path))

    @classmethod
    def decode(cls, data: bytes, where: str) -> Bundle:
        """Read and verify all of it: the signature, the CA, the link certificate, every descriptor."""
        try:
            signed = msgspec.json.decode(data, type=_Signed)
            body = msgspec.json.decode(signed.body, type=_Body)
            ca = x509.load_pem_x509_certificate(body.ca.encode())
            certificate = x509.load_pem_x509_certificate(body.certificate.encode())
        except (msgspec.MsgspecError, ValueError, UnsupportedAlgorithm):
            raise InvalidInputError(f"{where}: not a peerd bundle, or a broken one") from None
        try:
            ca_public = ca.public_key()
            if not isinstance(ca_public, ec.EllipticCurvePublicKey):
                raise ValueError("the CA's key is not ECDSA")
            ca_public.verify(signed.signature, DOMAIN + signed.body, ec.ECDSA(hashes.SHA256()))
            certificate.verify_directly_issued_by(ca)
        except Exception:  # InvalidSignature, ValueError, TypeError: all mean the same to the user
            raise DeniedError(
                f"{where}: bad CA: the bundle or its certificate is not signed by its authority"
            ) from None
        roster = []
        for encoded in body.roster:
            descriptor = decode_descriptor(encoded)
            if descriptor is None:
                raise InvalidInputError(f"{where}: a descriptor in the roster is broken")
            roster.append(descriptor)
        return cls(
            network=convert(body.network, NetworkConfig, f"{where}: network"),
            ca_pem=body.ca.encode(),
            certificate_pem=body.certificate.encode(),
            peer_id=body.peer_id,
            roster=tuple(roster),
            encoded=data,
        )

    def install(self, state_dir: Path) -> Bundle:
        """Put it into a peer's state directory, after checking that it is this peer's."""
        identity = Identity.load(state_dir)
        self.check_belongs_to(identity, str(state_dir))
        path = state_dir / FILE
        if path.exists() and Bundle.load(path).ca_pem != self.ca_pem:
            raise ConflictError(
                f"{state_dir}: belongs to another network (the bundle's CA differs); "
                "use another state directory"
            )
        write_atomic(path, self.encoded, 0o600)
        return self

    def check_belongs_to(self, identity: Identity, where: str) -> None:
        """DeniedError unless the link certificate and the roster are this identity's, and it is valid
        today: TLS would only say so peer by peer, and in its own words."""
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        enrolled = {descriptor.peer_id for descriptor in self.roster}
        if (
            self.peer_id != identity.peer_id.hex()
            or identity.peer_id not in enrolled
            or certificate.public_key() != identity.link_public()
        ):
            raise DeniedError(
                f"{where}: the bundle is for another peer, not for {identity.name} ({identity.peer_id.hex()})"
            )
        now = datetime.datetime.now(datetime.UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise DeniedError(
                f"{where}: the link certificate is valid from {certificate.not_valid_before_utc:%F} "
                f"to {certificate.not_valid_after_utc:%F}; check this host's clock, "
                "or ask the authority for a new bundle"
            )
