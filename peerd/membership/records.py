"""Records: what peers know of their network, each signed by whom it concerns. They spread by gossip.

    kind         signed by                              of which the newest wins, by
    AUTHORITY    a CA in force (see `trust`)            time of issue, ms
    DELEGATION   a CA in force                          start of validity, s
    CERTIFICATE  a CA in force, or a delegate           who issued it, then start of validity, s
    REVOCATION   a CA in force                          time of issue, ms
    DESCRIPTOR   the peer itself                        its version
    RUN          an operator with the admin role        time of issue, ms

Here they are made and read; `verify` says which are good. A record's key is its kind and 16 bytes: of the
SHA-256 of the new CA, a peer id, the id that is revoked, or the run's. Its bytes are passed on as they came,
and there is only one way to write it: whoever passes it on cannot add a byte. What a later version of peerd
adds is in what is signed, where an earlier one passes over it, or a kind of its own, which an earlier one
does not keep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from peerd.config import convert
from peerd.membership import certificates
from peerd.membership.certificates import PrivateKey
from peerd.membership.descriptor import Descriptor, peer_id_of
from peerd.pb import gossip_pb2, runs_pb2
from peerd.types import PEER_ID_BYTES, PeerId, RunSpec

ID_BYTES = 16
KEY_BYTES = 1 + ID_BYTES
MAX_RECORD_BYTES = 8192
_FIRST_FIELDS = 16
"""Fields of a run spec with higher numbers came later."""
AUTHORITY_DOMAIN = b"peerd authority v1\0"
REVOCATION_DOMAIN = b"peerd revocation v1\0"
RUN_DOMAIN = b"peerd run v1\0"
BY_AUTHORITY = 1 << 40
"""Added to the version of a certificate that the CA itself has issued: whatever its date, it wins over a
delegate's, who must not be able to rename or displace a peer that the CA has enrolled."""


class Kind(IntEnum):
    """In order of dependency: each can be verified by what is known of the kinds before it."""

    AUTHORITY = 1
    DELEGATION = 2
    CERTIFICATE = 3
    REVOCATION = 4
    DESCRIPTOR = 5
    RUN = 6


@dataclass(frozen=True, slots=True)
class NewAuthority:
    certificate: x509.Certificate
    issued_at: float
    """Unix time, seconds."""
    retires_earlier: bool
    """All CAs that were in force before `issued_at` are not any more."""


@dataclass(frozen=True, slots=True)
class Delegate:
    peer_id: PeerId
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Member:
    peer_id: PeerId
    name: str
    certificate: x509.Certificate
    issuer: PeerId | None
    """The delegate that has issued the certificate; None: the CA."""


@dataclass(frozen=True, slots=True)
class Revocation:
    id: bytes
    """A peer id, or an `operator_id`."""
    name: str
    """For people."""
    issued_at: float
    """Unix time, seconds."""


@dataclass(frozen=True, slots=True)
class RunNotice:
    spec: RunSpec
    stopped: bool
    issued_at: float
    """Unix time, seconds."""
    join_seconds: float
    """Who hears of it so soon after `issued_at` begins with round 1; later: listens first."""
    operator: str
    """The name in the operator's certificate."""


Body: TypeAlias = Descriptor | Member | Delegate | Revocation | NewAuthority | RunNotice


@dataclass(frozen=True, slots=True)
class Record:
    """A verified one."""

    kind: Kind
    key: bytes
    version: int
    encoded: bytes
    body: Body

    @property
    def id(self) -> bytes:
        return self.key[1:]


@dataclass(frozen=True, slots=True)
class Opened:
    """A record of which nothing is verified yet."""

    kind: Kind
    key: bytes
    version: int
    encoded: bytes
    message: Any
    """A Signed... message, or a certificate."""

    @property
    def id(self) -> bytes:
        return self.key[1:]


def key_of(kind: Kind, identifier: bytes) -> bytes:
    return bytes((kind,)) + identifier


def operator_id(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """16 bytes: the head of the SHA-256 of the operator's public key (SubjectPublicKeyInfo, DER)."""
    info = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _head(info)


def authority_id(certificate: x509.Certificate) -> bytes:
    """16 bytes: the head of the SHA-256 of the CA's certificate (DER)."""
    return _head(certificates.der(certificate))


# -- making ----------------------------------------------------------------------------------------


def descriptor_record(descriptor: Descriptor) -> bytes:
    return _record(descriptor=gossip_pb2.SignedDescriptor.FromString(descriptor.signed))


def certificate_record(certificate: x509.Certificate) -> bytes:
    return _record(certificate=certificates.der(certificate))


def delegation_record(certificate: x509.Certificate) -> bytes:
    return _record(delegation=certificates.der(certificate))


def sign_revocation(
    network: str, identifier: bytes, name: str, issued_at: float, ca_key: PrivateKey
) -> bytes:
    """`identifier` is a peer id or an `operator_id`; `issued_at` is Unix time in seconds."""
    body = gossip_pb2.Revocation(
        network=network, id=identifier, issued_at_ms=_ms(issued_at), name=name
    ).SerializeToString(deterministic=True)
    signature = sign(ca_key, REVOCATION_DOMAIN + body)
    return _record(revocation=gossip_pb2.SignedRevocation(revocation=body, signature=signature))


def sign_authority(
    network: str,
    new_ca: x509.Certificate,
    issued_at: float,
    retires_earlier: bool,
    signing_key: PrivateKey,
) -> bytes:
    """Bring a new CA into force, signed by one that is; or, later, end all that were before it, signed by the
    new one itself."""
    body = gossip_pb2.Authority(
        network=network,
        certificate=certificates.der(new_ca),
        issued_at_ms=_ms(issued_at),
        retires_earlier=retires_earlier,
    ).SerializeToString(deterministic=True)
    signature = sign(signing_key, AUTHORITY_DOMAIN + body)
    return _record(authority=gossip_pb2.SignedAuthority(authority=body, signature=signature))


def sign_run(
    network: str,
    spec: RunSpec,
    stopped: bool,
    issued_at: float,
    join_seconds: float,
    operator_cert: x509.Certificate,
    operator_key: PrivateKey,
) -> bytes:
    body = gossip_pb2.RunNotice(
        network=network,
        spec=run_spec_message(spec).SerializeToString(deterministic=True),
        stopped=stopped,
        issued_at_ms=_ms(issued_at),
        join_seconds=join_seconds,
    ).SerializeToString(deterministic=True)
    return _record(
        run=gossip_pb2.SignedRun(
            run=body,
            certificate=certificates.der(operator_cert),
            signature=sign(operator_key, RUN_DOMAIN + body),
        )
    )


def run_record(signed_run: bytes) -> bytes | None:
    """The record of an encoded SignedRun, as the control API carries it; None for what is none."""
    try:
        return _record(run=gossip_pb2.SignedRun.FromString(signed_run))
    except DecodeError:
        return None


def signed_run(record: bytes) -> bytes:
    """The encoded SignedRun in a record that `sign_run` has made."""
    run = gossip_pb2.Record.FromString(record).run
    return bytes(run.SerializeToString(deterministic=True))


def run_spec_message(spec: RunSpec) -> runs_pb2.RunSpec:
    """What came later is only said where it is not the default: an earlier version joins no run of whose
    settings it does not know one."""
    said = {
        field.name: getattr(spec, field.name)
        for field in msgspec.structs.fields(RunSpec)
        if runs_pb2.RunSpec.DESCRIPTOR.fields_by_name[field.name].number <= _FIRST_FIELDS
        or getattr(spec, field.name) != field.default
    }
    return runs_pb2.RunSpec(**said)


def run_spec_of(message: runs_pb2.RunSpec) -> RunSpec:
    """Validate a run's spec. Raises InvalidInputError that names the field and what is allowed.

    A sender that does not know of a later field yet says nothing of it, and means the default.
    """
    raw = {
        field.name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if field.number <= _FIRST_FIELDS or _is_said(message, field)
    }
    if "task_options" in raw:
        raw["task_options"] = dict(raw["task_options"])
    return convert(raw, RunSpec, "run spec")


def _is_said(message: runs_pb2.RunSpec, field: Any) -> bool:
    if field.has_presence:
        return bool(message.HasField(field.name))
    return bool(getattr(message, field.name))


# -- reading ---------------------------------------------------------------------------------------


def peek(encoded: bytes) -> tuple[bytes, int] | None:
    """(key, version) of a record of which nothing is verified; None for garbage."""
    opened = open_record(encoded)
    return None if opened is None else (opened.key, opened.version)


def is_of_unknown_kind(encoded: bytes) -> bool:
    """Whether it is a record of a kind that only later versions of peerd know: one field, which is none of
    ours."""
    try:
        record = gossip_pb2.Record.FromString(encoded)
    except DecodeError:
        return False
    return record.WhichOneof("body") is None and len(UnknownFieldSet(record)) == 1


def open_record(encoded: bytes) -> Opened | None:
    """What a record says of itself; None for bytes that are none, or not as we would write it."""
    if len(encoded) > MAX_RECORD_BYTES:
        return None
    try:
        record = gossip_pb2.Record.FromString(encoded)
        record.DiscardUnknownFields()
        name = record.WhichOneof("body")
        if name is None or record.SerializeToString(deterministic=True) != encoded:
            return None
        kind = Kind[name.upper()]
        found = _READERS[kind](getattr(record, name))
    except Exception:  # parsers of strangers' bytes: whatever they raise, it is no record
        return None
    if found is None or not 0 <= found[1] < 1 << 64:
        return None
    identifier, version, message = found
    return Opened(kind, key_of(kind, identifier), version, encoded, message)


Found: TypeAlias = tuple[bytes, int, Any] | None
"""Id, version, and the message or certificate."""


def _read_authority(message: gossip_pb2.SignedAuthority) -> Found:
    body = gossip_pb2.Authority.FromString(message.authority)
    return _head(body.certificate), body.issued_at_ms, message


def _read_delegation(data: bytes) -> Found:
    certificate = certificates.load_der(data)
    peer = None if certificate is None else certificates.delegate_of(certificate)
    if certificate is None or peer is None:
        return None
    return peer, certificates.not_before(certificate), certificate


def _read_certificate(data: bytes) -> Found:
    certificate = certificates.load_der(data)
    member = None if certificate is None else certificates.member_of(certificate)
    if certificate is None or member is None:
        return None
    start = certificates.not_before(certificate)
    if start < 0:  # before 1970
        return None
    by_authority = certificates.issuing_delegate(certificate) is None
    return member[0], start + (BY_AUTHORITY if by_authority else 0), certificate


def _read_revocation(message: gossip_pb2.SignedRevocation) -> Found:
    body = gossip_pb2.Revocation.FromString(message.revocation)
    return (body.id, body.issued_at_ms, message) if len(body.id) == PEER_ID_BYTES else None


def _read_descriptor(message: gossip_pb2.SignedDescriptor) -> Found:
    body = gossip_pb2.Descriptor.FromString(message.descriptor)
    return (peer_id_of(body.identity_key), body.version, message) if len(body.identity_key) == 32 else None


def _read_run(message: gossip_pb2.SignedRun) -> Found:
    body = gossip_pb2.RunNotice.FromString(message.run)
    run_id = bytes.fromhex(runs_pb2.RunSpec.FromString(body.spec).run_id)
    return (run_id, body.issued_at_ms, message) if len(run_id) == ID_BYTES else None


_READERS: Mapping[Kind, Callable[[Any], Found]] = {
    Kind.AUTHORITY: _read_authority,
    Kind.DELEGATION: _read_delegation,
    Kind.CERTIFICATE: _read_certificate,
    Kind.REVOCATION: _read_revocation,
    Kind.DESCRIPTOR: _read_descriptor,
    Kind.RUN: _read_run,
}


def join_records(records: Iterable[bytes]) -> bytes:
    """An encoded Records message."""
    return b"".join(b"\x0a" + varint(len(encoded)) + encoded for encoded in records)


def split_records(data: bytes) -> tuple[list[bytes], bool]:
    """The reverse; False: what comes after these records is broken."""
    found: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 1
        while start < len(data) and data[start] & 0x80:
            start += 1
        start += 1
        length = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(data[position + 1 : start]))
        if data[position] != 0x0A or start - position > 4 or start + length > len(data):
            return found, False
        found.append(data[start : start + length])
        position = start + length
    return found, True


def varint(number: int) -> bytes:
    """A non-negative number as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def sign(key: PrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _record(**body: Any) -> bytes:
    return bytes(gossip_pb2.Record(**body).SerializeToString(deterministic=True))


def _head(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:ID_BYTES]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
