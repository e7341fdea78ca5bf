"""Another key for the authority, in two steps; each makes one ledger of another. Nothing is written here.

Between the steps both CAs are in force, so links go on while the new certificates spread. What the earlier CA
has signed and what is to outlast it is signed anew by the new one: certificates, delegations, revocations.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from cryptography import x509

from peerd.membership import certificates
from peerd.membership.bundle import Bundle
from peerd.membership.certificates import PrivateKey
from peerd.membership.ledger import Enrolled, Ledger, Revoked
from peerd.membership.records import peek, sign_authority, sign_revocation

STEP_SECONDS = 0.001
"""Records count time in milliseconds."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a change of the CA's key brings forth."""

    records: tuple[bytes, ...]
    """For everybody: the new CA, and what it has signed anew."""
    bundles: tuple[Bundle, ...]
    """For peers that were away, by name."""
    operators: tuple[str, ...]
    """Whose certificates end with the earlier CA: make them anew."""


def begin(ledger: Ledger, network: str, key: PrivateKey, new_key: PrivateKey, now: float) -> Ledger:
    """The CA in force, whose `key` is given, brings in a new one, which signs from now on."""
    ca = certificates.make_ca(network, new_key)
    record = sign_authority(network, ca, _after(ledger, now), False, key)
    return replace(
        ledger,
        authorities=(ca, *ledger.authorities),
        history=(*ledger.history, record),
        peers=tuple(_reissued(peer, ca, new_key) for peer in ledger.peers),
        revoked=tuple(_signed_again(entry, network, new_key, now) for entry in ledger.revoked),
    )


def finish(ledger: Ledger, network: str, key: PrivateKey, now: float) -> Ledger:
    """The new CA, whose `key` is given, retires all before it; their operators are none any more."""
    ca = ledger.authorities[0]
    record = sign_authority(network, ca, _after(ledger, now), True, key)
    return replace(
        ledger,
        authorities=(ca,),
        history=(*ledger.history, record),
        operators=tuple(o for o in ledger.operators if certificates.is_issued_by(o.certificate, ca)),
    )


def _reissued(peer: Enrolled, ca: x509.Certificate, key: PrivateKey) -> Enrolled:
    public = certificates.public_key_of(peer.certificate)
    certificate = certificates.link_certificate(peer.descriptor, public, ca, key, instead_of=peer.certificate)
    delegation = None
    if peer.delegation is not None:
        ends = peer.delegation.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        delegation = certificates.delegate_certificate(
            peer.peer_id,
            peer.name,
            certificates.public_key_of(peer.delegation),
            ca,
            key,
            ends.total_seconds() / 86_400.0,
            instead_of=peer.delegation,
        )
    return replace(peer, certificate=certificate, delegation=delegation)


def _signed_again(entry: Revoked, network: str, key: PrivateKey, now: float) -> Revoked:
    at = max(now, entry.at + STEP_SECONDS)
    return replace(entry, at=at, record=sign_revocation(network, entry.id, entry.name, at, key))


def _after(ledger: Ledger, now: float) -> float:
    """Later than all that came before, also where the clock was set back."""
    found = peek(ledger.history[-1]) if ledger.history else None
    return now if found is None else max(now, found[1] / 1000 + STEP_SECONDS)
