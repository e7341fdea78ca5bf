"""Signing in newcomers on the authority's behalf: who has a token of this delegate gets a bundle. Sans-IO."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peerd.enrolment.tokens import Tokens, pin_of
from peerd.enrolment.wire import Ask
from peerd.errors import ConflictError, DeniedError, PeerdError
from peerd.membership import Bundle, PeerState, certificates
from peerd.membership.descriptor import Descriptor, check_name
from peerd.membership.identity import verify_request
from peerd.membership.records import Kind, Record, certificate_record, descriptor_record
from peerd.membership.roster import Roster
from peerd.types import PeerId

MAX_TOLD_BYTES = 1 << 20
"""Of the records that a newcomer is given: it hears the rest by gossip, from any of those in them."""


@dataclass(frozen=True, slots=True)
class Admitted:
    name: str
    peer_id: PeerId
    bundle: bytes
    records: tuple[bytes, ...]
    """Of the newcomer: its certificate and descriptor, for everybody to know."""


@dataclass(frozen=True, slots=True)
class Refused:
    error: PeerdError


class Redeemer:
    def __init__(self, state: PeerState, roster: Roster, tokens: Tokens, wall: Callable[[], float]) -> None:
        """Whether this peer is a delegate is what its `roster` says at the time."""
        self._state = state
        self._roster = roster
        self.tokens = tokens
        self._wall = wall

    def renewed(self, state: PeerState) -> None:
        """This peer's own certificate, or the CAs in force, have changed."""
        self._state = state

    def invite(self, name: str, expires_in: float) -> tuple[bytes, bytes]:
        """(secret, pin) of a new token. DeniedError for who is no delegate now, ConflictError for a name
        that is taken and for too many tokens, InvalidInputError for a name or time that may not be."""
        delegation = self._delegation()
        if name:
            self._check_free(check_name(name), None)
        return self.tokens.make(name, expires_in, self._wall()), pin_of(public_key_der(delegation))

    def redeem(self, ask: Ask) -> Admitted | Refused:
        """A token is used up by who is signed in; who is refused may try again with it."""
        try:
            delegation = self._delegation()
            request = verify_request(ask.request, "the request")
            newcomer = request.descriptor
            fault = self.tokens.check(ask.secret, newcomer.peer_id, newcomer.name, self._wall())
            if fault is not None:
                raise DeniedError(fault.value)
            earlier = self._check_admissible(newcomer)
            certificate = certificates.link_certificate(
                newcomer,
                request.link_public,
                delegation,
                self._state.identity.link_key,
                instead_of=earlier,
            )
            self.tokens.redeem(ask.secret, newcomer.peer_id, newcomer.name, self._wall())
        except PeerdError as error:
            return Refused(error)
        records = (certificate_record(certificate), descriptor_record(newcomer))
        bundle = Bundle.make(
            network=self._state.network,
            authorities=self._state.authorities,
            chain=(certificate, delegation),
            key=self._state.identity.link_key,
            records=(*self._told(newcomer.peer_id), *records),
            issued_at=self._wall(),
        )
        return Admitted(newcomer.name, newcomer.peer_id, bundle.encoded, records)

    def _delegation(self) -> x509.Certificate:
        me = self._state.peer_id
        delegate = self._roster.delegate(me)
        if (
            delegate is None
            or self._roster.is_revoked(me)
            or not certificates.is_valid_at(delegate.certificate, self._wall())
            or delegate.certificate.public_key() != self._state.identity.link_public()
        ):
            raise DeniedError(
                f"{self._state.name} may not sign in others: the authority has not made it a delegate, or "
                f"its time is over (peerctl network delegate NETWORK {self._state.name})"
            )
        return delegate.certificate

    def _check_admissible(self, newcomer: Descriptor) -> x509.Certificate | None:
        """The certificate that the newcomer has from a delegate already, such as one that got lost."""
        if self._roster.is_revoked(newcomer.peer_id):
            raise DeniedError("this identity was revoked; make another with `peerd init` in a new folder")
        member = self._roster.member(newcomer.peer_id)
        if newcomer.peer_id == self._state.peer_id or (member is not None and member.issuer is None):
            raise ConflictError(
                f"{newcomer.name} is enrolled by the network's authority, which alone gives it new bundles"
            )
        if member is not None and member.name != newcomer.name:
            raise ConflictError(f"this identity is enrolled already, as {member.name}")
        self._check_free(newcomer.name, newcomer.peer_id)
        return None if member is None else member.certificate

    def _check_free(self, name: str, newcomer: PeerId | None) -> None:
        known = (self._roster.member(peer) for peer in self._roster.members() if peer != newcomer)
        if name in (self._state.name, *(member.name for member in known if member is not None)):
            raise ConflictError(f"a peer named {name} is enrolled already; choose another name")

    def _told(self, newcomer: PeerId) -> list[bytes]:
        """Records in order of dependency: all, or who may sign, oneself, and then for each newcomer some
        others of its own, so that not all know the same few."""
        records = [record for record in self._roster.records() if record.id != newcomer]

        def rank(record: Record) -> tuple[int, bytes, bytes]:
            if record.kind in (Kind.AUTHORITY, Kind.DELEGATION, Kind.RUN):
                return 0, b"", record.key
            if record.id == self._state.peer_id:
                return 1, b"", record.key
            return 2, hashlib.sha256(newcomer + record.id).digest(), record.key

        if sum(len(record.encoded) for record in records) > MAX_TOLD_BYTES:
            room, chosen = MAX_TOLD_BYTES, []
            for record in sorted(records, key=rank):
                room -= len(record.encoded)
                if room < 0:
                    break
                chosen.append(record)
            records = sorted(chosen, key=lambda record: record.key)
        return [record.encoded for record in records]


def public_key_der(certificate: x509.Certificate) -> bytes:
    """SubjectPublicKeyInfo."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
