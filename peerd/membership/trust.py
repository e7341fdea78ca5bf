"""The CAs of a network that are in force: one, or two while the authority changes its key. Sans-IO.

A change goes in two steps, each an AUTHORITY record. First the CA in force signs the new one; both are in
force, and certificates are issued anew. Later the new one, which everybody knows by then, retires all that
were before it. When which was issued decides, not when it came, so all peers end with the same CAs.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from peerd.membership import certificates
from peerd.membership.records import NewAuthority, authority_id


class Trust:
    """ValueError for a certificate that is no CA's."""

    def __init__(self, network: str, authorities: Iterable[x509.Certificate]) -> None:
        self.network = network
        self.retired_at = 0.0
        """When the latest notice was issued that retires earlier CAs; Unix time, seconds."""
        self._in_force: dict[bytes, x509.Certificate] = {}
        self._since: dict[bytes, float] = {}
        for certificate in authorities:
            if not certificates.is_authority(certificate):
                raise ValueError("not the certificate of a CA")
            self._put(certificate, 0.0)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """In force, the newest last."""
        return tuple(self._in_force.values())

    @property
    def pem(self) -> bytes:
        """All of them, for TLS."""
        return b"".join(certificates.pem(certificate) for certificate in self._in_force.values())

    def in_force(self, authority: bytes) -> bool:
        """Whether the CA of this `authority_id` is."""
        return authority in self._in_force

    def signer(self, signature: bytes, data: bytes) -> bytes | None:
        """The `authority_id` of the CA in force that has signed; None: none of them."""
        return next((known for known in self._in_force if self.signed(known, signature, data)), None)

    def signed(self, authority: bytes, signature: bytes, data: bytes) -> bool:
        """Whether this one has, and is in force."""
        certificate = self._in_force.get(authority)
        return certificate is not None and has_signed(certificate, signature, data)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether any CA in force has signed."""
        return self.signer(signature, data) is not None

    def issuer(self, certificate: x509.Certificate, wall: float | None = None) -> bytes | None:
        """The `authority_id` of the CA in force, and valid at Unix time `wall`, that has issued it itself;
        None: none of them."""
        for known, authority in self._in_force.items():
            valid = wall is None or certificates.is_valid_at(authority, wall)
            if valid and certificates.is_issued_by(certificate, authority):
                return known
        return None

    def issued(self, certificate: x509.Certificate) -> bool:
        """Whether any CA in force has issued it itself, not by a delegate."""
        return self.issuer(certificate) is not None

    def add(self, new: NewAuthority) -> bool:
        """Take in a verified notice. Whether other CAs are in force now."""
        before = set(self._in_force)
        if new.retires_earlier:
            self.retired_at = max(self.retired_at, new.issued_at)
            self._put(new.certificate, new.issued_at)
            self._retire()
        elif new.issued_at > self.retired_at:
            self._put(new.certificate, new.issued_at)
        return set(self._in_force) != before

    def retire(self, authority: bytes) -> None:
        """This CA is over."""
        self._in_force.pop(authority, None)
        self._since.pop(authority, None)

    def _put(self, certificate: x509.Certificate, since: float) -> None:
        authority = authority_id(certificate)
        self._in_force[authority] = certificate
        self._since[authority] = max(since, self._since.get(authority, 0.0))

    def _retire(self) -> None:
        for authority in [known for known, since in self._since.items() if since < self.retired_at]:
            self.retire(authority)


def has_signed(certificate: x509.Certificate, signature: bytes, data: bytes) -> bool:
    """Whether the key of this certificate has made an ECDSA signature with SHA-256 of the data."""
    try:
        certificates.public_key_of(certificate).verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
