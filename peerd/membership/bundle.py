"""What a peer needs to belong to a network: its parameters, its CAs, this peer's link certificate, and
what is known of the others. All public.

JSON, signed by whoever has issued the link certificate: a CA of the network, or a delegate of it, whose own
certificate is then part of the chain in the bundle. Whoever hands a first bundle to a peer decides which
network it joins. Later ones must be of the same network and never lead back: their CAs are those already
trusted, or what AUTHORITY records in them make of these.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError

from peerd.config import NetworkConfig, convert
from peerd.errors import ConflictError, DeniedError, InvalidInputError
from peerd.membership import certificates
from peerd.membership.descriptor import Descriptor, decode_descriptor
from peerd.membership.identity import Identity
from peerd.membership.records import (
    Kind,
    NewAuthority,
    Opened,
    Record,
    authority_id,
    certificate_record,
    key_of,
    open_record,
    peek,
)
from peerd.membership.renewal import Chain, Renewal, read_pem, to_pem
from peerd.membership.trust import Trust
from peerd.membership.verify import Verified, Verifier
from peerd.pb import gossip_pb2
from peerd.store import read_bounded, write_atomic
from peerd.types import PeerId

FILE = "bundle.json"
DOMAIN = b"peerd bundle v2\0"
MAX_BYTES = 256 << 20


class _Signed(msgspec.Struct, forbid_unknown_fields=True):
    body: bytes
    signature: bytes


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    network: dict[str, object]
    authorities: str
    certificate: str
    records: list[bytes]
    issued_at: float


@dataclass(frozen=True, slots=True)
class Bundle:
    network: NetworkConfig
    authorities: Chain
    """All CAs in force when it was made."""
    chain: Chain
    """The link certificate; then the delegate's, where one has issued it."""
    peer_id: PeerId
    """The peer that the link certificate is for."""
    name: str
    records: tuple[bytes, ...]
    """Encoded records of what is known of the network, this peer included. Not verified: the roster does."""
    issued_at: float
    """Unix time by the issuer's clock, seconds."""
    encoded: bytes

    @classmethod
    def make(
        cls,
        *,
        network: NetworkConfig,
        authorities: Sequence[x509.Certificate],
        chain: Sequence[x509.Certificate],
        key: ec.EllipticCurvePrivateKey,
        records: Iterable[bytes],
        issued_at: float,
    ) -> Bundle:
        """`key` is that of the issuer of `chain[0]`: of a CA, or of the delegate in `chain[1]`."""
        body = msgspec.json.encode(
            _Body(
                network=msgspec.to_builtins(network),
                authorities=to_pem(authorities),
                certificate=to_pem(chain),
                records=list(records),
                issued_at=issued_at,
            )
        )
        signature = key.sign(DOMAIN + body, ec.ECDSA(hashes.SHA256()))
        return cls.decode(msgspec.json.encode(_Signed(body, signature)), "the new bundle")

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """NotFoundError, InvalidInputError or DeniedError, in one line that names the file."""
        data = read_bounded(path, MAX_BYTES, "a bundle; get one from the network's authority")
        return cls.decode(data, str(path))

    @classmethod
    def decode(cls, data: bytes, where: str) -> Bundle:
        """Read it, and verify the signature, the CAs and the chain."""
        try:
            signed = msgspec.json.decode(data, type=_Signed)
            body = msgspec.json.decode(signed.body, type=_Body)
            authorities, chain = read_pem(body.authorities), read_pem(body.certificate)
            member = certificates.member_of(chain[0])
            if member is None:
                raise ValueError("not a link certificate")
        except (msgspec.MsgspecError, ValueError, UnsupportedAlgorithm, RecursionError):
            raise InvalidInputError(
                f"{where}: not a bundle of this peerd, or a broken one; get a new one from the network's "
                "authority"
            ) from None
        try:
            issuer = _issuer(authorities, chain)
            if issuer is None:
                raise ValueError("the chain leads to no CA")
            public = certificates.public_key_of(issuer)
            public.verify(signed.signature, DOMAIN + signed.body, ec.ECDSA(hashes.SHA256()))
        except Exception:  # InvalidSignature, ValueError, TypeError: all mean the same to the user
            raise DeniedError(
                f"{where}: bad CA: the bundle or its certificate is not signed by its authority"
            ) from None
        return cls(
            network=convert(body.network, NetworkConfig, f"{where}: network"),
            authorities=authorities,
            chain=chain,
            peer_id=member[0],
            name=member[1],
            records=tuple(body.records),
            issued_at=body.issued_at,
            encoded=data,
        )

    @property
    def issuer(self) -> x509.Certificate | None:
        """The certificate of the delegate that has made the bundle; None: a CA has."""
        return self.chain[1] if len(self.chain) == 2 else None

    @property
    def roster(self) -> tuple[Descriptor, ...]:
        """The descriptors in it, by name."""
        return descriptors_in(self.records)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole, hex."""
        return hashlib.sha256(self.encoded).hexdigest()

    @property
    def delegation(self) -> x509.Certificate | None:
        """The certificate by which this peer may sign in others; None: it may not."""
        newest: Opened | None = None
        for record in _opened(self.records, Kind.DELEGATION):
            if record.key == key_of(Kind.DELEGATION, self.peer_id) and (
                newest is None or record.version > newest.version
            ):
                newest = record
        return None if newest is None else newest.message

    def records_under(self, authorities: Sequence[x509.Certificate]) -> tuple[bytes, ...]:
        """The records, without those by which earlier CAs came and went: of these nobody can be asked any
        more whether they signed what they did."""
        in_force = {key_of(Kind.AUTHORITY, authority_id(ca)) for ca in authorities}
        latest: dict[bytes, Opened] = {}
        for record in _opened(self.records, Kind.AUTHORITY):
            known = latest.get(record.key)
            if record.key in in_force and (known is None or record.version > known.version):
                latest[record.key] = record
        kept = {record.encoded for record in latest.values()}
        return tuple(record for record in self.records if record in kept or _kind(record) != Kind.AUTHORITY)

    def install(self, state_dir: Path) -> Bundle:
        """Put it into a peer's state directory, after checking that it is this peer's.

        ConflictError for a bundle of another network, and OlderBundleError for one that is older than what
        is there. The same once more is no error.
        """
        path = state_dir / FILE
        self.check_is_for(Identity.load(state_dir), str(state_dir))
        installed = Bundle.load(path) if path.exists() else None
        if installed is not None and installed.encoded == self.encoded:
            return self  # also when its certificate is over: a newer one may have come by gossip
        check_valid(self.chain, str(state_dir))
        if installed is not None:
            self._check_follows(installed, Renewal.load(state_dir, installed.digest), state_dir)
        try:
            write_atomic(path, self.encoded, 0o600)
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None
        return self

    def _check_follows(self, installed: Bundle, renewal: Renewal | None, state_dir: Path) -> None:
        authorities = installed.authorities if renewal is None else renewal.authorities
        certificate = installed.chain[0] if renewal is None else renewal.chain[0]
        leads_on = self._follows_from(authorities)
        related = self.network == installed.network and (
            leads_on or installed._follows_from(self.authorities)
        )
        older = (_version(self.chain[0]), self.issued_at) < (_version(certificate), installed.issued_at)
        if related and older:
            raise OlderBundleError(
                f"{state_dir}: the installed bundle is newer than this one, and stays; "
                "if it is spoilt, get a new one: peerctl network sign NETWORK request.json"
            )
        if self.network != installed.network or not leads_on:
            raise ConflictError(
                f"{state_dir}: belongs to another network, or nothing leads from its CA to that of this "
                "bundle; use another state directory, or get a new bundle from the authority"
            )

    def _follows_from(self, authorities: Sequence[x509.Certificate]) -> bool:
        """Whether who trusts these CAs comes to trust those of this bundle, by the records in it."""
        trust = Trust(self.network.name, authorities)
        verifier = Verifier(trust)
        reached = set(trust.authorities)
        for record in sorted(_opened(self.records, Kind.AUTHORITY), key=lambda record: record.version):
            match verifier.authority(record, self.issued_at):
                case Verified(record=Record(body=NewAuthority() as new)):
                    trust.add(new)
                    reached.add(new.certificate)
        return reached.issuperset(self.authorities)

    def check_belongs_to(self, identity: Identity, where: str) -> None:
        """DeniedError unless it is this identity's, and its certificates are valid today."""
        self.check_is_for(identity, where)
        check_valid(self.chain, where)

    def check_is_for(self, identity: Identity, where: str) -> None:
        """DeniedError unless the link certificate is this identity's."""
        certified = (self.peer_id, self.name, self.chain[0].public_key())
        if certified != (identity.peer_id, identity.name, identity.link_public()):
            raise DeniedError(
                f"{where}: the bundle is for another peer, not for {identity.name} ({identity.peer_id.hex()})"
            )


class OlderBundleError(ConflictError):
    """What is installed already is newer."""


def check_valid(chain: Chain, where: str) -> None:
    """DeniedError unless all of it is valid today: TLS would only say so peer by peer, in its own words."""
    now = datetime.datetime.now(datetime.UTC)
    for certificate in chain:
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise DeniedError(
                f"{where}: the link certificate is valid from {certificate.not_valid_before_utc:%F} "
                f"to {certificate.not_valid_after_utc:%F}; check this host's clock, or ask the authority "
                "for a new bundle: peerctl network sign NETWORK request.json"
            )


def _issuer(authorities: Chain, chain: Chain) -> x509.Certificate | None:
    """Who has issued the link certificate; None unless the chain leads to one of the CAs."""
    if not all(certificates.is_authority(ca) for ca in authorities) or len(chain) > 2:
        return None
    last = chain[-1]
    ca = next((ca for ca in authorities if certificates.is_issued_by(last, ca)), None)
    if ca is None or len(chain) == 1:
        return ca
    delegate = certificates.delegate_of(chain[1])
    if delegate is None or delegate != certificates.issuing_delegate(chain[0]):
        return None
    return chain[1] if certificates.is_issued_by(chain[0], chain[1]) else None


def _version(certificate: x509.Certificate) -> int:
    """As gossip has it: the CA's certificates before a delegate's, then the later one."""
    found = peek(certificate_record(certificate))
    return 0 if found is None else found[1]


def _kind(record: bytes) -> Kind | None:
    """What a record says to be, at little cost."""
    try:
        name = gossip_pb2.Record.FromString(record).WhichOneof("body")
    except DecodeError:
        return None
    return None if name is None else Kind[name.upper()]


def _opened(records: Iterable[bytes], kind: Kind) -> Iterator[Opened]:
    for record in records:
        opened = open_record(record) if _kind(record) == kind else None
        if opened is not None:
            yield opened


def descriptors_in(records: Iterable[bytes]) -> tuple[Descriptor, ...]:
    """Those of their signers, by name."""
    found = []
    for record in _opened(records, Kind.DESCRIPTOR):
        descriptor = decode_descriptor(record.message.SerializeToString(deterministic=True))
        if descriptor is not None:
            found.append(descriptor)
    return tuple(sorted(found, key=lambda descriptor: descriptor.name))
