"""A peer's own keys, made on its own host, and the request with which it asks to be enrolled.

DIR/identity.json  0600   name, address, and two private keys:
    identity  Ed25519, signs descriptors; its public key's hash is the peer id
    link      ECDSA P-256, for TLS (gRPC's BoringSSL takes no Ed25519 certificates)

Mix keys are not among them: the daemon makes those itself, anew for every epoch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from peerd.errors import ConflictError, InvalidInputError
from peerd.membership.descriptor import (
    Descriptor,
    check_address,
    check_name,
    decode_descriptor,
    sign_descriptor,
)
from peerd.pb import gossip_pb2
from peerd.store import read_bounded, write_secret
from peerd.types import PeerId

FILE = "identity.json"
REQUEST_DOMAIN = b"peerd enrolment request v1\0"
MAX_BYTES = 64 * 1024
LINK_CURVE = ec.SECP256R1.name
"""P-256: the one curve that OpenSSL and gRPC's BoringSSL both take without asking."""


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    address: str
    identity: bytes
    link: bytes


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    descriptor: bytes
    csr: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A verified enrolment request: both keys are in the hands of whoever made it."""

    descriptor: Descriptor
    link_public: ec.EllipticCurvePublicKey


class Identity:
    """The private half of a peer. Its `repr` shows no key."""

    def __init__(self, keys: _Keys) -> None:
        self.name = keys.name
        self._identity = Ed25519PrivateKey.from_private_bytes(keys.identity)
        self.link_key_pem = keys.link
        link = serialization.load_pem_private_key(keys.link, password=None)
        if not isinstance(link, ec.EllipticCurvePrivateKey) or link.curve.name != LINK_CURVE:
            raise ValueError("the link key is not an ECDSA P-256 key")
        self._link = link
        self._addresses = (keys.address,)
        self.descriptor = self.describe((), 1)

    def __repr__(self) -> str:
        return f"Identity({self.name}, {self.peer_id.hex()})"

    @property
    def peer_id(self) -> PeerId:
        return self.descriptor.peer_id

    def describe(
        self,
        mix_keys: tuple[tuple[int, bytes], ...],
        version: int,
        *,
        address: str = "",
        leaving: bool = False,
        run: bytes = b"",
        contributes_from: int = 0,
        finished: bool = False,
        model: bytes = b"",
        instance: int = 0,
        started_at: float = 0.0,
        software: str = "",
    ) -> Descriptor:
        """A signed descriptor with these (epoch, public key) pairs; a higher version replaces a lower.

        `address`: another host:port than that of the enrolment request. The rest as in `Descriptor`.
        InvalidInputError for what no descriptor may say.
        """
        return sign_descriptor(
            self._identity,
            self.name,
            (check_address(address, f"address of {self.name}"),) if address else self._addresses,
            mix_keys,
            version,
            leaving=leaving,
            run=run,
            contributes_from=contributes_from,
            finished=finished,
            model=model,
            instance=instance,
            started_at=started_at,
            software=software,
        )

    @classmethod
    def create(cls, state_dir: Path, name: str, address: str) -> Identity:
        """Make keys in a new or empty state directory. ConflictError where there are keys already."""
        check_name(name)
        check_address(address, f"address of {name}")
        path = state_dir / FILE
        if path.exists():
            raise ConflictError(f"{path}: this state directory has keys already; use another one")
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            keys = _Keys(
                name=name,
                address=address,
                identity=Ed25519PrivateKey.generate().private_bytes_raw(),
                link=_new_link_key(),
            )
            write_secret(path, msgspec.json.encode(keys))
        except OSError as error:
            raise InvalidInputError(f"{state_dir}: cannot be written: {error.strerror}") from None
        return cls(keys)

    @classmethod
    def load(cls, state_dir: Path) -> Identity:
        """NotFoundError without keys, InvalidInputError where the file is broken."""
        path = state_dir / FILE
        data = read_bounded(path, MAX_BYTES, "a peer's keys; make them with `peerd init`")
        try:
            return cls(msgspec.json.decode(data, type=_Keys))
        except (msgspec.MsgspecError, ValueError, TypeError, UnsupportedAlgorithm):
            # No detail: the message of a parser may quote the file, and the file is secret.
            raise InvalidInputError(f"{path}: broken key file; restore it from a backup") from None

    @property
    def link_key(self) -> ec.EllipticCurvePrivateKey:
        """Private. A delegate signs certificates and bundles with it."""
        return self._link

    def link_public(self) -> ec.EllipticCurvePublicKey:
        return self._link.public_key()

    def derive(self, label: bytes) -> bytes:
        """32 secret bytes of this identity, for one use; the same at every start."""
        secret = self._identity.private_bytes_raw()
        return hashlib.blake2b(label, key=secret, digest_size=32, person=b"peerd derive").digest()

    def request(self) -> bytes:
        """JSON with public keys, signed by the identity key; no private key is in it."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
        pem = csr.sign(self._link, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        signed = REQUEST_DOMAIN + self.descriptor.signed + pem
        return msgspec.json.format(
            msgspec.json.encode(_Request(self.descriptor.signed, pem.decode(), self._identity.sign(signed)))
        )


def verify_request(data: bytes, where: str) -> Request:
    """Check an enrolment request. InvalidInputError names `where` it came from."""
    broken = InvalidInputError(f"{where}: not a valid enrolment request; make one with `peerd init`")
    if len(data) > MAX_BYTES:
        raise broken
    try:
        raw = msgspec.json.decode(data, type=_Request)
        descriptor = decode_descriptor(raw.descriptor)
        csr = x509.load_pem_x509_csr(raw.csr.encode())
        if descriptor is None or not csr.is_signature_valid:
            raise broken
        link = csr.public_key()
        if not isinstance(link, ec.EllipticCurvePublicKey) or link.curve.name != LINK_CURVE:
            raise broken
        public = Ed25519PublicKey.from_public_bytes(_identity_key(raw.descriptor))
        public.verify(raw.signature, REQUEST_DOMAIN + raw.descriptor + raw.csr.encode())
    except InvalidInputError:
        raise
    except Exception:  # parsers of strangers' files: whatever they raise, it is not a request
        raise broken from None
    return Request(descriptor, link)


def _identity_key(signed: bytes) -> bytes:
    body = gossip_pb2.SignedDescriptor.FromString(signed).descriptor
    return bytes(gossip_pb2.Descriptor.FromString(body).identity_key)


def _new_link_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
