"""The authority of a simulated network, and an operator: all that they sign follows from the seed.

The authority of a real network draws serial numbers, reads the clock and signs with fresh randomness, so that
its certificates have other bytes, and other lengths, each time: gossip would pack other cells.
"""

from __future__ import annotations

import datetime
import random
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerd.membership import Descriptor
from peerd.membership.certificates import BACKDATE, PrivateKey
from peerd.membership.records import sign_revocation, sign_run
from peerd.types import PeerId, RunSpec

DAYS = 3650
CURVE = ec.SECP256R1()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the curve: keys are below it."""


def draw_key(rng: random.Random) -> PrivateKey:
    return ec.derive_private_key(rng.randrange(1, ORDER), CURVE)


class SimAuthority:
    """`wall`: Unix time of the network's beginning."""

    def __init__(self, network: str, rng: random.Random, wall: float) -> None:
        self.network = network
        self._rng = rng
        self._key = draw_key(rng)
        self._operator_key = draw_key(rng)
        self._start = datetime.datetime.fromtimestamp(wall, datetime.UTC) - BACKDATE
        self.certificate = self._make_ca()
        self._operator = self._make_leaf("operator", self._operator_key, ["peerd://operator/admin/operator"])

    def enroll(self, descriptor: Descriptor, link_key: PrivateKey) -> x509.Certificate:
        """A link certificate for whoever has made this descriptor."""
        uri = f"peerd://peer/{descriptor.peer_id.hex()}"
        names = [uri, f"{descriptor.name}.peerd"]
        return self._make_leaf(descriptor.name, link_key, names)

    def revoke(self, peer: PeerId, name: str, wall: float) -> bytes:
        return sign_revocation(self.network, peer, name, wall, _steady(self._key))

    def announce(self, spec: RunSpec, wall: float, join_seconds: float, *, stopped: bool = False) -> bytes:
        """The notice of a run by the operator."""
        key = _steady(self._operator_key)
        return sign_run(self.network, spec, stopped, wall, join_seconds, self._operator, key)

    def _make_ca(self) -> x509.Certificate:
        name = _name(f"{self.network} peerd authority")
        return self._sign(
            self._builder(name, name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
        )

    def _make_leaf(self, name: str, key: PrivateKey, names: list[str]) -> x509.Certificate:
        uri, *hosts = names
        general = [x509.UniformResourceIdentifier(uri), *map(x509.DNSName, hosts)]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._sign(
            self._builder(_name(name), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(general), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(_usage(sign_certificates=False), critical=True)
        )

    def _builder(self, subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(1 + self._rng.getrandbits(128))
            .not_valid_before(self._start)
            .not_valid_after(self._start + datetime.timedelta(days=DAYS))
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)


class _Steady:
    """Signs the same with the same bytes (RFC 6979)."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes, _algorithm: Any) -> bytes:
        return self._key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def _steady(key: PrivateKey) -> PrivateKey:
    return cast(PrivateKey, _Steady(key))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
