"""Verifies records: whether who should have signed one has. Sans-IO.

Nothing here depends on what else is known but the certificates that are handed in, so the same record is good
at every peer that has the same CAs. What is cheap comes first: a signature is checked last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.unknown_fields import UnknownFieldSet

from peerd.errors import InvalidInputError
from peerd.membership import certificates
from peerd.membership.descriptor import decode_descriptor
from peerd.membership.records import (
    AUTHORITY_DOMAIN,
    REVOCATION_DOMAIN,
    RUN_DOMAIN,
    Body,
    Delegate,
    Member,
    NewAuthority,
    Opened,
    Record,
    Revocation,
    RunNotice,
    authority_id,
    operator_id,
    run_spec_of,
)
from peerd.membership.trust import Trust, has_signed
from peerd.pb import gossip_pb2, runs_pb2
from peerd.types import DropReason

AHEAD_SECONDS = 86_400.0
"""What was issued so long after now, by our clock, is refused: it would never be replaced."""
MAX_NAME = 64
MAX_JOIN_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Refused:
    reason: DropReason
    """BAD_GOSSIP, GOSSIP_FULL, UNKNOWN_RECORD, REVOKED_PEER, or UNKNOWN_PEER: what it hangs on is not known
    yet."""
    why: str
    """For the log."""
    hostile: bool = False
    """No honest peer has ever taken it for valid, so none passes it on. Otherwise it may be that clocks or
    what is known differ."""
    waits_for: bytes = b""
    """UNKNOWN_PEER: the key of the record that has to be known before."""


@dataclass(frozen=True, slots=True)
class Verified:
    record: Record
    by: bytes
    """The `authority_id` of the CA that has signed it, or certified the operator who did; empty: none."""
    operator: bytes = b""
    """The `operator_id` of a notice of a run."""


Verdict: TypeAlias = Verified | Refused


def _forged(why: str) -> Refused:
    return Refused(DropReason.BAD_GOSSIP, why, hostile=True)


def _untimely(why: str) -> Refused:
    return Refused(DropReason.BAD_GOSSIP, why)


class Verifier:
    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.signatures = 0
        """Checks of signatures begun so far: what strangers can make this peer spend."""

    def authority(self, opened: Opened, wall: float) -> Verdict | None:
        """None: this CA is in force already, and who signed it in is not any more."""
        body = gossip_pb2.Authority.FromString(opened.message.authority)
        new_ca = certificates.load_der(body.certificate)
        if body.network != self._trust.network or new_ca is None:
            return _forged("authority: of another network, or not a certificate")
        new = NewAuthority(new_ca, body.issued_at_ms / 1000, body.retires_earlier)
        if refused := self._check_time("authority", new.issued_at, wall):
            return refused
        if not certificates.is_valid_at(new_ca, wall):
            return _untimely("authority: the new CA is not valid today")
        self.signatures += 2
        known, signature = authority_id(new_ca), opened.message.signature
        signed = AUTHORITY_DOMAIN + opened.message.authority
        if not certificates.is_authority(new_ca):
            return _forged("authority: the certificate is not a CA's")
        if new.retires_earlier:
            if not self._trust.in_force(known):
                why = "authority: retires others, is not in force itself"
                return Refused(DropReason.UNKNOWN_PEER, why, waits_for=opened.key)
            by = known if self._trust.signed(known, signature, signed) else None
        else:
            by = self._trust.signer(signature, signed)
            if by in (None, known) and self._trust.in_force(known):
                return None
        return _verified(opened, new, by, "authority: not signed by a CA in force")

    def delegation(self, opened: Opened, wall: float) -> Verdict:
        if not certificates.is_valid_at(opened.message, wall):
            return _untimely("delegation: not valid today")
        self.signatures += 1
        by = self._trust.issuer(opened.message, wall)
        delegate = certificates.delegate_of(opened.message)
        if delegate is None:
            return _forged("delegation: not a delegate's certificate")
        return _verified(
            opened, Delegate(delegate, opened.message), by, "delegation: not issued by a CA in force"
        )

    def certificate(self, opened: Opened, delegate: Delegate | None, wall: float) -> Verdict:
        """`delegate`: the one by whom it says to be issued."""
        names = certificates.member_of(opened.message)
        if names is None:
            return _forged("certificate: not a link certificate")
        if not certificates.is_valid_at(opened.message, wall):
            return _untimely("certificate: not valid today")
        if delegate is not None and not certificates.is_valid_at(delegate.certificate, wall):
            return _untimely("certificate: its delegate's is not valid today")
        self.signatures += 1
        issuer = None if delegate is None else delegate.peer_id
        member = Member(*names, opened.message, issuer)
        if delegate is not None:
            by = b"" if certificates.is_issued_by(opened.message, delegate.certificate) else None
            return _verified(opened, member, by, "certificate: not issued by its delegate")
        by = self._trust.issuer(opened.message, wall)
        return _verified(opened, member, by, "certificate: not issued by a CA in force")

    def revocation(self, opened: Opened, wall: float) -> Verdict:
        body = gossip_pb2.Revocation.FromString(opened.message.revocation)
        if body.network != self._trust.network:
            return _forged("revocation: of another network")
        if len(body.name) > MAX_NAME or not body.name.isprintable():
            return _forged("revocation: not a name")
        revocation = Revocation(body.id, body.name, body.issued_at_ms / 1000)
        if refused := self._check_time("revocation", revocation.issued_at, wall):
            return refused
        self.signatures += 1
        by = self._trust.signer(opened.message.signature, REVOCATION_DOMAIN + opened.message.revocation)
        return _verified(opened, revocation, by, "revocation: not signed by a CA in force")

    def descriptor(self, opened: Opened, member: Member, wall: float) -> Verdict:
        """`member`: whose it says to be."""
        if refused := self._check_time("descriptor", opened.version, wall):
            return refused
        if gossip_pb2.Descriptor.FromString(opened.message.descriptor).name != member.name:
            return _untimely("descriptor: another name than in its certificate")
        self.signatures += 1
        descriptor = decode_descriptor(opened.message.SerializeToString(deterministic=True))
        if descriptor is None:
            return _forged("descriptor: not valid")
        return _verified(opened, descriptor, b"", "")

    def run(self, opened: Opened, wall: float) -> Verdict:
        body = gossip_pb2.RunNotice.FromString(opened.message.run)
        certificate = certificates.load_der(opened.message.certificate)
        operator = None if certificate is None else certificates.operator_of(certificate)
        if certificate is None or operator is None or operator[0] != "admin":
            return _forged("run: not by an operator with the admin role")
        if body.network != self._trust.network or not 0.0 <= body.join_seconds <= MAX_JOIN_SECONDS:
            return _forged("run: of another network, or out of range")
        try:
            said = runs_pb2.RunSpec.FromString(body.spec)
            if len(UnknownFieldSet(said)):  # half of the rules would be another experiment
                return Refused(DropReason.UNKNOWN_RECORD, "run: its spec needs a later version of peerd")
            spec = run_spec_of(said)
        except InvalidInputError as error:
            return _untimely(str(error))  # a later version may allow what this one does not
        notice = RunNotice(spec, body.stopped, body.issued_at_ms / 1000, body.join_seconds, operator[1])
        if refused := self._check_time("run", notice.issued_at, wall):
            return refused
        if not certificates.is_valid_at(certificate, wall):
            return _untimely("run: the operator's certificate is not valid today")
        self.signatures += 2
        by = self._trust.issuer(certificate, wall)
        if by is None:
            return _forged("run: the operator's certificate is not issued by a CA in force")
        signed = has_signed(certificate, opened.message.signature, RUN_DOMAIN + opened.message.run)
        who = operator_id(certificates.public_key_of(certificate))
        return _verified(opened, notice, by if signed else None, "run: not signed by its operator", who)

    @staticmethod
    def _check_time(what: str, issued_at: float, wall: float) -> Refused | None:
        return _untimely(f"{what}: from the future") if issued_at > wall + AHEAD_SECONDS else None


def _verified(opened: Opened, body: Body, by: bytes | None, otherwise: str, operator: bytes = b"") -> Verdict:
    if by is None:
        return _forged(otherwise)
    return Verified(Record(opened.kind, opened.key, opened.version, opened.encoded, body), by, operator)
