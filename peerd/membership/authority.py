"""The network's authority: an offline key that signs peers in. `peerctl network ...` drives it.

DIR/network.json        the network's parameters
DIR/ca.key        0600  the CA's private key; keep this folder off the peers
DIR/ca.pem              its certificate
DIR/roster.json         signed descriptors and link certificates of all enrolled peers
DIR/bundles/NAME.bundle what each peer installs; all are rewritten at each enrolment
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peerd.config import NetworkConfig, convert
from peerd.errors import ConflictError, DeniedError, InvalidInputError
from peerd.membership import certificates
from peerd.membership.bundle import Bundle
from peerd.membership.descriptor import Descriptor, check_name, decode_descriptor
from peerd.membership.identity import Identity, verify_request
from peerd.store import StateLock, read_bounded, write_atomic, write_secret

MAX_BYTES = 64 << 20
ROSTER_FILE = "roster.json"
HINT = "a network's file; make a network with `peerctl network create`"
T = TypeVar("T")
Role = Literal["admin", "viewer"]


class _Enrolled(msgspec.Struct, forbid_unknown_fields=True):
    descriptor: bytes
    certificate: str


@dataclass(slots=True)
class _Member:
    descriptor: Descriptor
    certificate_pem: bytes


class Authority:
    def __init__(
        self,
        directory: Path,
        network: NetworkConfig,
        ca: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        members: list[_Member],
    ) -> None:
        self.directory = directory
        self.network = network
        self._ca = ca
        self._key = key
        self._members = members

    @classmethod
    def create(cls, directory: Path, network: NetworkConfig) -> Authority:
        """A new network in a new or empty folder. ConflictError where one lies already."""
        if (directory / "network.json").exists():
            raise ConflictError(f"{directory}: a network lies here already")
        key = certificates.new_key()
        ca = certificates.make_ca(network.name, key)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(directory / "ca.key", certificates.key_pem(key))
            write_atomic(directory / "ca.pem", certificates.pem(ca))
            authority = cls(directory, network, ca, key, [])
            authority._write_roster()
            write_atomic(directory / "network.json", msgspec.json.format(msgspec.json.encode(network)))
        except OSError as error:
            raise InvalidInputError(f"{directory}: cannot be written: {error.strerror}") from None
        return authority

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """NotFoundError without a network, InvalidInputError for broken files, DeniedError for a key
        that is not the certificate's."""
        path = directory / "network.json"
        raw_network = _json(read_bounded(path, MAX_BYTES, HINT), dict[str, object], path)
        network = convert(raw_network, NetworkConfig, str(path))
        ca_pem = read_bounded(directory / "ca.pem", MAX_BYTES, HINT)
        key_pem = read_bounded(directory / "ca.key", MAX_BYTES, HINT)
        try:
            ca = x509.load_pem_x509_certificate(ca_pem)
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InvalidInputError(f"{directory}: bad CA: ca.pem or ca.key is broken") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
            raise DeniedError(f"{directory}: bad CA: ca.key does not belong to ca.pem")
        return cls(directory, network, ca, key, _read_roster(directory))

    def roster(self) -> tuple[Descriptor, ...]:
        """Every enrolled peer, by name."""
        return tuple(sorted((m.descriptor for m in self._members), key=lambda d: d.name))

    def enroll(self, request: bytes, where: str = "request") -> Bundle:
        """Sign a peer in, and rewrite everybody's bundle with the new roster.

        ConflictError for a name or identity that is enrolled already.
        """
        verified = verify_request(request, where)
        with StateLock(self.directory, "another enrolment is under way; try again"):
            self._members = _read_roster(self.directory)
            self._check_new(verified.descriptor)
            certificate = certificates.link_certificate(
                verified.descriptor, verified.link_public, self._ca, self._key
            )
            self._members.append(_Member(verified.descriptor, certificates.pem(certificate)))
            try:
                self._write_roster()
                return self.write_bundles()[verified.descriptor.name]
            except OSError as error:
                raise InvalidInputError(f"{self.directory}: cannot be written: {error.strerror}") from None

    def enroll_local(self, name: str, address: str, state_dir: Path) -> Bundle:
        """For a peer on this same host: make its keys in its own state directory, then enrol it."""
        check_name(name)
        if any(member.descriptor.name == name for member in self._members):
            raise ConflictError(f"{name}: a peer of this name is enrolled already")
        identity = Identity.create(state_dir, name, address)
        return self.enroll(identity.request(), name)

    def write_bundles(self) -> dict[str, Bundle]:
        """DIR/bundles/NAME.bundle for every peer, with the whole roster."""
        folder = self.directory / "bundles"
        folder.mkdir(mode=0o755, exist_ok=True)
        ca_pem = certificates.pem(self._ca)
        roster = self.roster()
        bundles = {}
        for member in self._members:
            name = member.descriptor.name
            bundles[name] = Bundle.make(
                self.network, ca_pem, self._key, member.descriptor, member.certificate_pem, roster
            )
            write_atomic(folder / f"{name}.bundle", bundles[name].encoded)
        return bundles

    def operator(self, name: str, role: Role, out_dir: Path) -> Path:
        """Key and client certificate for the control API over TCP, in OUT_DIR/NAME.{key,pem}; the CA
        beside them in ca.pem. ConflictError where they exist."""
        check_name(name)
        if (out_dir / f"{name}.key").exists():
            raise ConflictError(f"{out_dir / name}.key: exists already")
        key = certificates.new_key()
        certificate = certificates.operator_certificate(name, role, key.public_key(), self._ca, self._key)
        try:
            out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(out_dir / f"{name}.key", certificates.key_pem(key))
            write_atomic(out_dir / f"{name}.pem", certificates.pem(certificate))
            write_atomic(out_dir / "ca.pem", certificates.pem(self._ca))
        except OSError as error:
            raise InvalidInputError(f"{out_dir}: cannot be written: {error.strerror}") from None
        return out_dir / f"{name}.pem"

    def _check_new(self, descriptor: Descriptor) -> None:
        for member in self._members:
            if member.descriptor.name == descriptor.name:
                raise ConflictError(f"{descriptor.name}: a peer of this name is enrolled already")
            if member.descriptor.peer_id == descriptor.peer_id:
                raise ConflictError(
                    f"{descriptor.name}: this identity is enrolled already, as {member.descriptor.name}"
                )

    def _write_roster(self) -> None:
        entries = [_Enrolled(m.descriptor.signed, m.certificate_pem.decode()) for m in self._members]
        write_atomic(self.directory / ROSTER_FILE, msgspec.json.encode(entries))


def _read_roster(directory: Path) -> list[_Member]:
    path = directory / ROSTER_FILE
    members = []
    for entry in _json(read_bounded(path, MAX_BYTES, HINT), list[_Enrolled], path):
        descriptor = decode_descriptor(entry.descriptor)
        if descriptor is None:
            raise InvalidInputError(f"{path}: a descriptor is broken")
        members.append(_Member(descriptor, entry.certificate.encode()))
    return members


def _json(data: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: broken file: {error}") from None
