"""X.509 of the network: a CA, link certificates of peers, client certificates of operators.

All ECDSA P-256 with SHA-256. Who a certificate is for stands in a URI SAN:
`peerd://peer/<32 hex digits>` or `peerd://operator/<admin|viewer>/<name>`.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerd.membership.descriptor import Descriptor

CA_DAYS = 3650
LEAF_DAYS = 825
BACKDATE = datetime.timedelta(hours=1)
"""Hosts whose clocks lag a little accept a fresh certificate."""

PrivateKey = ec.EllipticCurvePrivateKey


def new_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def make_ca(network: str, key: PrivateKey) -> x509.Certificate:
    name = _name(f"{network} peerd authority")
    return (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def link_certificate(
    descriptor: Descriptor,
    public: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: PrivateKey,
) -> x509.Certificate:
    """For both ends of a link, and for the control API's TCP server (DNS SAN `<name>.peerd`)."""
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"peerd://peer/{descriptor.peer_id.hex()}"),
        x509.DNSName(f"{descriptor.name}.peerd"),
    ]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _leaf(descriptor.name, public, names, both, ca, ca_key)


def operator_certificate(
    name: str,
    role: str,
    public: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: PrivateKey,
) -> x509.Certificate:
    """For a person who uses the control API over TCP."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"peerd://operator/{role}/{name}")]
    return _leaf(name, public, names, [ExtendedKeyUsageOID.CLIENT_AUTH], ca, ca_key)


def _leaf(
    name: str,
    public: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    ca: x509.Certificate,
    ca_key: PrivateKey,
) -> x509.Certificate:
    ca_public = ca_key.public_key()
    return (
        _builder(_name(name), ca.subject, public, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_public), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


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
