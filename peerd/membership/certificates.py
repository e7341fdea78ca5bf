"""X.509 of the network: a CA, delegates, link certificates of peers, client certificates of operators.

All ECDSA P-256 with SHA-256. Who a certificate is for stands in a URI SAN:

    peerd://peer/<32 hex digits>            and the DNS name <name>.peerd
    peerd://delegate/<32 hex digits>        a CA below the network's, which may issue link certificates only
    peerd://operator/<admin|viewer>/<name>

A delegate's certificate permits only URIs of the host `peer` and DNS names below `peerd` (RFC 5280,
4.2.1.10), so that TLS itself refuses an operator's certificate that a delegate has issued.
"""

from __future__ import annotations

import datetime
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerd.membership.descriptor import NAME, Descriptor
from peerd.types import PEER_ID_BYTES, PeerId

CA_DAYS = 3650
LEAF_DAYS = 825
BACKDATE = datetime.timedelta(hours=1)
"""Hosts whose clocks lag a little accept a fresh certificate."""
CURVE = ec.SECP256R1.name

PrivateKey = ec.EllipticCurvePrivateKey

_PEER = re.compile(r"peerd://peer/([0-9a-f]{32})", re.ASCII)
_DELEGATE = re.compile(r"peerd://delegate/([0-9a-f]{32})", re.ASCII)
_OPERATOR = re.compile(rf"peerd://operator/(admin|viewer)/({NAME.pattern})", re.ASCII)
_PERMITTED = x509.NameConstraints(
    permitted_subtrees=[x509.UniformResourceIdentifier("peer"), x509.DNSName("peerd")],
    excluded_subtrees=None,
)


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


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def make_ca(network: str, key: PrivateKey) -> x509.Certificate:
    """Self-signed; below it there may be delegates, and below those nothing but leaves."""
    name = _name(f"{network} peerd authority")
    return (
        _builder(name, name, key.public_key(), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def delegate_certificate(
    peer_id: PeerId,
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    days: float = LEAF_DAYS,
    *,
    instead_of: x509.Certificate | None = None,
) -> x509.Certificate:
    """With it the peer whose link key this is may issue link certificates, as long as it is valid itself.

    Its subject holds the peer id as UID, so that what it issues tells by whom. `instead_of`: as in
    `link_certificate`.
    """
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} peerd delegate"),
            x509.NameAttribute(NameOID.USER_ID, peer_id.hex()),
        ]
    )
    uri = x509.UniformResourceIdentifier(f"peerd://delegate/{peer_id.hex()}")
    ca_public = ca_key.public_key()
    after = None if instead_of is None else instead_of.not_valid_before_utc
    return (
        _builder(subject, ca.subject, public_key, days, ca, after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_PERMITTED, critical=True)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_public), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def link_certificate(
    descriptor: Descriptor,
    public: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    days: float = LEAF_DAYS,
    *,
    instead_of: x509.Certificate | None = None,
) -> x509.Certificate:
    """For both ends of a link, and for the control API's TCP server (DNS SAN `<name>.peerd`).

    `ca` is the network's or a delegate's. A certificate that is to replace another of the same peer is newer
    by a second at least, even if it is made at once: peers go by that.
    """
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"peerd://peer/{descriptor.peer_id.hex()}"),
        x509.DNSName(f"{descriptor.name}.peerd"),
    ]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    after = None if instead_of is None else instead_of.not_valid_before_utc
    return _leaf(descriptor.name, public, names, both, ca, ca_key, days, after)


def operator_certificate(
    name: str,
    role: str,
    public: ec.EllipticCurvePublicKey,
    ca: x509.Certificate,
    ca_key: PrivateKey,
    days: float = LEAF_DAYS,
) -> x509.Certificate:
    """For a person who uses the control API over TCP, or announces runs."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"peerd://operator/{role}/{name}")]
    return _leaf(name, public, names, [ExtendedKeyUsageOID.CLIENT_AUTH], ca, ca_key, days)


def load_der(data: bytes) -> x509.Certificate | None:
    """None for any bytes that are not a certificate."""
    try:
        return x509.load_der_x509_certificate(data)
    except Exception:  # a parser of strangers' bytes: whatever it raises, it is no certificate
        return None


def member_of(certificate: x509.Certificate) -> tuple[PeerId, str] | None:
    """(peer id, name) of a link certificate; None for any other. Its signature is not looked at."""
    names = _leaf_names(certificate)
    if len(names) != 2:
        return None
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    hosts = [name.value for name in names if isinstance(name, x509.DNSName)]
    match = _PEER.fullmatch(uris[0]) if uris and hosts else None
    name = hosts[0].removesuffix(".peerd") if hosts else ""
    if match is None or not NAME.fullmatch(name) or hosts != [f"{name}.peerd"]:
        return None
    return PeerId(bytes.fromhex(match[1])), name


def delegate_of(certificate: x509.Certificate) -> PeerId | None:
    """Whose certificate of a delegate it is, exactly as `delegate_certificate` makes them; None for any
    other. Its signature is not looked at."""
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.NameConstraints)
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        user = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
        if not (_may_issue(certificate) and basic.path_length == 0):
            return None
        if not constraints.critical or constraints.value != _PERMITTED or not _is_p256(certificate):
            return None
    except Exception:  # no such extension, or a broken one
        return None
    match = _DELEGATE.fullmatch(str(names[0].value)) if len(names) == 1 else None
    if match is None or [attribute.value for attribute in user] != [match[1]]:
        return None
    return PeerId(bytes.fromhex(match[1]))


def operator_of(certificate: x509.Certificate) -> tuple[str, str] | None:
    """(role, name) of an operator's certificate; None for any other. Operators are certified by the CA
    itself and never by a delegate: the caller checks by whom."""
    names = _leaf_names(certificate)
    match = _OPERATOR.fullmatch(str(names[0].value)) if len(names) == 1 else None
    return None if match is None else (match[1], match[2])


def issuing_delegate(certificate: x509.Certificate) -> PeerId | None:
    """The delegate that a certificate says to be issued by; None: none, so by the CA."""
    try:
        user = certificate.issuer.get_attributes_for_oid(NameOID.USER_ID)
        peer = bytes.fromhex(str(user[0].value)) if len(user) == 1 else b""
    except Exception:  # a name that is none, or a UID that is not hex
        return None
    return PeerId(peer) if len(peer) == PEER_ID_BYTES else None


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer may issue certificates and has signed this one."""
    try:
        if not _may_issue(issuer):
            return False
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # InvalidSignature, ValueError, TypeError, a broken extension: it is not
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is a CA's own: self-signed, P-256, and allowed to issue certificates."""
    return _is_p256(certificate) and is_issued_by(certificate, certificate)


def is_valid_at(certificate: x509.Certificate, wall: float) -> bool:
    """Whether Unix time `wall` lies between its dates."""
    return not_before(certificate) <= wall <= not_after(certificate)


def not_before(certificate: x509.Certificate) -> int:
    """Unix time, whole seconds as X.509 has them."""
    return int(certificate.not_valid_before_utc.timestamp())


def not_after(certificate: x509.Certificate) -> float:
    """Unix time."""
    return certificate.not_valid_after_utc.timestamp()


def public_key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """ValueError for a key that is not P-256."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != CURVE:
        raise ValueError("not an ECDSA P-256 key")
    return key


def _leaf_names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """The SANs of a certificate that may not issue others and has a key for TLS; else nothing."""
    try:
        extensions = certificate.extensions
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca or not _is_p256(certificate):
            return []
        return list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except Exception:  # no such extension, or a broken one
        return []


def _may_issue(certificate: x509.Certificate) -> bool:
    """x509.ExtensionNotFound and others for a certificate that does not say."""
    extensions = certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    return basic.ca and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def _is_p256(certificate: x509.Certificate) -> bool:
    try:
        public_key_of(certificate)
    except Exception:  # of an unknown kind, or broken
        return False
    return True


def _leaf(
    name: str,
    public: ec.EllipticCurvePublicKey,
    names: list[x509.GeneralName],
    usages: list[x509.ObjectIdentifier],
    ca: x509.Certificate,
    ca_key: PrivateKey,
    days: float,
    after: datetime.datetime | None = None,
) -> x509.Certificate:
    ca_public = ca_key.public_key()
    return (
        _builder(_name(name), ca.subject, public, days, ca, after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_public), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    days: float,
    ca: x509.Certificate | None = None,
    after: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    """Valid from an hour ago, but later than `after`; never longer than its issuer."""
    now = datetime.datetime.now(datetime.UTC)
    start, end = now - BACKDATE, now + datetime.timedelta(days=days)
    if after is not None:
        start = max(start, after + datetime.timedelta(seconds=1))
    if ca is not None:
        end = min(end, ca.not_valid_after_utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
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
