"""What the network's authority has signed so far: one file, replaced whole at each change.

So a crash leaves the state before a command or the one after it; all else in the authority's folder
follows from this file and the keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from peerd.errors import InvalidInputError
from peerd.membership import certificates
from peerd.membership.certificates import PrivateKey
from peerd.membership.descriptor import Descriptor, decode_descriptor
from peerd.membership.records import (
    certificate_record,
    delegation_record,
    descriptor_record,
    operator_id,
)
from peerd.store import read_bounded, write_atomic, write_secret
from peerd.types import PeerId

FILE = "authority.json"
KEY_FILE = "ca.key"
MAX_BYTES = 256 << 20
MAX_KEY_BYTES = 1 << 16
_PEM = re.compile(rb"-----BEGIN [^-]+-----[^-]+-----END [^-]+-----")
HINT = "a network's file; make a network with `peerctl network create`"
Whom = Literal["peer", "operator"]
Role = Literal["admin", "viewer"]


@dataclass(frozen=True, slots=True)
class Enrolled:
    descriptor: Descriptor
    """As in its enrolment request."""
    certificate: x509.Certificate
    delegation: x509.Certificate | None = None

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def peer_id(self) -> PeerId:
        return self.descriptor.peer_id


@dataclass(frozen=True, slots=True)
class Revoked:
    kind: Whom
    id: bytes
    name: str
    """Empty for a peer that a delegate had signed in: only its id is known here."""
    at: float
    """Unix time."""
    record: bytes


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    role: Role
    certificate: x509.Certificate

    @property
    def id(self) -> bytes:
        return operator_id(certificates.public_key_of(self.certificate))


@dataclass(frozen=True, slots=True)
class Ledger:
    authorities: tuple[x509.Certificate, ...]
    """The CAs in force. The first one signs."""
    history: tuple[bytes, ...] = ()
    """AUTHORITY records, oldest first: they lead from the first CA to the present one."""
    peers: tuple[Enrolled, ...] = ()
    """By name."""
    revoked: tuple[Revoked, ...] = ()
    operators: tuple[Operator, ...] = ()
    """All that were ever made."""

    def by_name(self, name: str) -> Enrolled | None:
        return next((peer for peer in self.peers if peer.name == name), None)

    def by_id(self, peer_id: bytes) -> Enrolled | None:
        return next((peer for peer in self.peers if peer.peer_id == peer_id), None)

    def revocation(self, revoked_id: bytes) -> Revoked | None:
        return next((entry for entry in self.revoked if entry.id == revoked_id), None)

    def revoked_peer(self, name: str, peer_id: bytes | None) -> Revoked | None:
        """The last one of this id, or without an id of this name."""
        found = [
            entry
            for entry in self.revoked
            if entry.kind == "peer" and (entry.name == name if peer_id is None else entry.id == peer_id)
        ]
        return found[-1] if found else None

    def with_peer(self, peer: Enrolled) -> Ledger:
        """In the place of an earlier entry of the same identity."""
        others = (known for known in self.peers if known.peer_id != peer.peer_id)
        return replace(self, peers=tuple(sorted((*others, peer), key=lambda known: known.name)))

    def without(self, peer: Enrolled | None, *revoked: Revoked) -> Ledger:
        kept = tuple(known for known in self.peers if known != peer)
        return replace(self, peers=kept, revoked=(*self.revoked, *revoked))

    def records(self) -> tuple[bytes, ...]:
        """All that a peer may be told, in order of dependency."""
        descriptors = (descriptor_record(peer.descriptor) for peer in self.peers)
        return (*self.signed_by_ca(self.history), *descriptors)

    def signed_by_ca(self, history: Iterable[bytes]) -> tuple[bytes, ...]:
        """The same after this history, without what the peers have signed themselves."""
        return (
            *history,
            *(delegation_record(peer.delegation) for peer in self.peers if peer.delegation is not None),
            *(certificate_record(peer.certificate) for peer in self.peers),
            *(entry.record for entry in self.revoked),
        )

    @classmethod
    def load(cls, directory: Path) -> Ledger:
        """NotFoundError where there is none, InvalidInputError for a broken one."""
        path = directory / FILE
        if not path.exists() and (directory / "roster.json").exists():
            raise InvalidInputError(
                f"{directory}: made by a peerd before 0.1.0, whose networks this one does not know; "
                "make a new network with `peerctl network create`"
            )
        try:
            raw = msgspec.json.decode(read_bounded(path, MAX_BYTES, HINT), type=_File)
            return raw.ledger()
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, UnsupportedAlgorithm) as error:
            raise InvalidInputError(f"{path}: broken file: {error}".replace("\n", " ")) from None

    def save(self, directory: Path) -> None:
        """OSError when the disk refuses; the earlier file is then intact."""
        write_atomic(directory / FILE, msgspec.json.encode(_File.of(self)), 0o600)


def read_keys(directory: Path) -> list[PrivateKey]:
    """Of the CA: one key, or two while it is being changed. InvalidInputError for a broken file."""
    data = read_bounded(directory / KEY_FILE, MAX_KEY_BYTES, HINT)
    keys = []
    try:
        for block in _PEM.findall(data):
            key = serialization.load_pem_private_key(block, password=None)
            if isinstance(key, PrivateKey):
                keys.append(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        keys = []
    if not keys:  # no detail: the message of a parser may quote the file, and the file is secret
        raise InvalidInputError(f"{directory}: bad CA: {KEY_FILE} is broken; restore it from a backup")
    return keys


def write_keys(directory: Path, keys: Sequence[PrivateKey]) -> None:
    """OSError when the disk refuses; the earlier file is then intact."""
    write_secret(directory / KEY_FILE, b"".join(map(certificates.key_pem, keys)))


# -- the file --------------------------------------------------------------------------------------


class _Enrolled(msgspec.Struct, forbid_unknown_fields=True):
    descriptor: bytes
    certificate: str
    delegation: str = ""


class _Revoked(msgspec.Struct, forbid_unknown_fields=True):
    kind: Whom
    id: bytes
    name: str
    at: float
    record: bytes


class _Operator(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: Role
    certificate: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal[2]
    authorities: list[str]
    history: list[bytes]
    peers: list[_Enrolled]
    revoked: list[_Revoked]
    operators: list[_Operator]

    @classmethod
    def of(cls, ledger: Ledger) -> _File:
        return cls(
            format=2,
            authorities=[_text(ca) for ca in ledger.authorities],
            history=list(ledger.history),
            peers=[
                _Enrolled(
                    peer.descriptor.signed,
                    _text(peer.certificate),
                    "" if peer.delegation is None else _text(peer.delegation),
                )
                for peer in ledger.peers
            ],
            revoked=[_Revoked(r.kind, r.id, r.name, r.at, r.record) for r in ledger.revoked],
            operators=[_Operator(o.name, o.role, _text(o.certificate)) for o in ledger.operators],
        )

    def ledger(self) -> Ledger:
        if not self.authorities:
            raise ValueError("it names no CA")
        return Ledger(
            authorities=tuple(map(_certificate, self.authorities)),
            history=tuple(self.history),
            peers=tuple(
                Enrolled(
                    _descriptor(peer.descriptor),
                    _certificate(peer.certificate),
                    _certificate(peer.delegation) if peer.delegation else None,
                )
                for peer in self.peers
            ),
            revoked=tuple(Revoked(r.kind, r.id, r.name, r.at, r.record) for r in self.revoked),
            operators=tuple(Operator(o.name, o.role, _certificate(o.certificate)) for o in self.operators),
        )


def _text(certificate: x509.Certificate) -> str:
    return certificates.pem(certificate).decode()


def _certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def _descriptor(data: bytes) -> Descriptor:
    descriptor = decode_descriptor(data)
    if descriptor is None:
        raise ValueError("a descriptor is broken")
    return descriptor
