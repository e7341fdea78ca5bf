from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import certificates
from peerd.membership.certificates import (
    delegate_certificate,
    delegate_of,
    der,
    is_authority,
    is_issued_by,
    is_valid_at,
    issuing_delegate,
    key_pem,
    link_certificate,
    load_der,
    make_ca,
    member_of,
    new_key,
    not_before,
    operator_certificate,
    operator_of,
    pem,
)

DAY = 86_400.0


def resign(certificate, key, *, names=None, without=(), more=(), **changes):
    """The same certificate with something changed, signed anew."""
    builder = x509.CertificateBuilder(
        changes.get("issuer", certificate.issuer),
        changes.get("subject", certificate.subject),
        changes.get("public", certificate.public_key()),
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        [],
    )
    for extension in certificate.extensions:
        value = extension.value
        if names is not None and isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName(names)
        if not isinstance(value, without):
            builder = builder.add_extension(value, extension.critical)
    for value, critical in more:
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256())


def uri(text):
    return x509.UniformResourceIdentifier(text)


def dns(text):
    return x509.DNSName(text)


# -- what OpenSSL makes of them ----------------------------------------------------------------------


def handshake(directory: Path, ca, client_chain, client_key, lab) -> str:
    """TLS 1.3 in memory, both sides authenticated against the root alone; "" or why the server refuses."""
    contexts = []
    server_chain = [lab.link(0)]
    for name, chain, key, protocol in (
        ("client", client_chain, client_key, ssl.PROTOCOL_TLS_CLIENT),
        ("server", server_chain, lab.peer(0).link, ssl.PROTOCOL_TLS_SERVER),
    ):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pem(ca).decode())
        file = directory / f"{name}.pem"
        file.write_bytes(b"".join(map(pem, chain)) + key_pem(key))
        context.load_cert_chain(file)
        contexts.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts[0].wrap_bio(to_client, to_server)
    server = contexts[1].wrap_bio(to_server, to_client, server_side=True)
    done = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError as error:
                return str(error.verify_message)
    assert done == {client, server}
    return ""


def test_openssl_takes_a_leaf_of_the_ca(lab, tmp_path):
    assert handshake(tmp_path, lab.ca, [lab.link(1)], lab.peer(1).link, lab) == ""


def test_openssl_takes_a_leaf_of_a_delegate_by_the_root_alone(lab, tmp_path):
    key, delegate = lab.delegate(1)
    leaf = lab.link(2, (key, delegate))
    assert handshake(tmp_path, lab.ca, [leaf, delegate], lab.peer(2).link, lab) == ""
    refused = handshake(tmp_path, lab.ca, [leaf], lab.peer(2).link, lab)
    assert "unable to get" in refused


def test_openssl_refuses_an_operator_of_a_delegate(lab, tmp_path):
    """By the name constraints; of the CA itself the same certificate is good."""
    key, delegate = lab.delegate(1)
    mallory = operator_certificate("mallory", "admin", lab.peer(2).link.public_key(), delegate, key)
    assert operator_of(mallory) == ("admin", "mallory")
    refused = handshake(tmp_path, lab.ca, [mallory, delegate], lab.peer(2).link, lab)
    assert "permitted subtree violation" in refused
    good = lab.operator()
    assert handshake(tmp_path, lab.ca, [good], lab.operator_key, lab) == ""


@pytest.mark.parametrize(
    "names",
    [
        [uri("peerd://operator/admin/mallory"), uri("peerd://peer/" + "ab" * 16)],
        [uri("peerd://peer/" + "ab" * 16), dns("bob.peerd"), uri("peerd://operator/admin/mallory")],
        [uri("peerd://delegate/" + "ab" * 16)],
        [uri("peerd://peer.operator/admin/mallory")],
        [uri("peerd://xpeer/" + "ab" * 16)],
        [dns("www.example.org")],
        [dns("xpeerd")],
    ],
    ids=str,
)
def test_openssl_refuses_all_other_names_of_a_delegate(lab, tmp_path, names):
    key, delegate = lab.delegate(1)
    leaf = resign(lab.link(2, (key, delegate)), key, names=names)
    refused = handshake(tmp_path, lab.ca, [leaf, delegate], lab.peer(2).link, lab)
    assert "permitted subtree violation" in refused
    assert member_of(leaf) is None


def test_openssl_refuses_a_delegate_of_a_delegate(lab, tmp_path):
    key, delegate = lab.delegate(1)
    second_key, second = lab.delegate(2, (key, delegate))
    leaf = lab.link(3, (second_key, second))
    refused = handshake(tmp_path, lab.ca, [leaf, second, delegate], lab.peer(3).link, lab)
    assert refused in ("path length constraint exceeded", "permitted subtree violation")


def test_openssl_refuses_what_a_plain_peer_has_issued(lab, tmp_path):
    plain = lab.link(1)
    leaf = lab.link(2, (lab.peer(1).link, plain))
    refused = handshake(tmp_path, lab.ca, [leaf, plain], lab.peer(2).link, lab)
    assert refused in ("invalid CA certificate", "unsuitable certificate purpose")
    assert not is_issued_by(leaf, plain)


# -- what we make of them ----------------------------------------------------------------------------


def test_each_certificate_says_what_it_is(lab):
    peer = lab.peer(1)
    _, delegate = lab.delegate(1)
    leaf, operator = lab.link(1), lab.operator("viewer")
    said = {
        certificate: (member_of(certificate), delegate_of(certificate), operator_of(certificate))
        for certificate in (leaf, delegate, operator, lab.ca)
    }
    assert said == {
        leaf: ((peer.id, "peer1"), None, None),
        delegate: (None, peer.id, None),
        operator: (None, None, ("viewer", "olga")),
        lab.ca: (None, None, None),
    }
    assert [is_authority(certificate) for certificate in said] == [False, False, False, True]


def test_who_has_issued_it(lab):
    key, delegate = lab.delegate(1)
    by_delegate, by_ca = lab.link(2, (key, delegate)), lab.link(2)
    assert (issuing_delegate(by_delegate), issuing_delegate(by_ca)) == (lab.peer(1).id, None)
    assert is_issued_by(by_delegate, delegate) and not is_issued_by(by_delegate, lab.ca)
    assert is_issued_by(by_ca, lab.ca) and not is_issued_by(by_ca, delegate)
    assert is_issued_by(delegate, lab.ca)
    other_key, other_ca = lab.new_ca()  # of the same name: only the key tells
    assert other_ca.subject == lab.ca.subject
    assert not is_issued_by(by_ca, other_ca)
    assert not is_issued_by(resign(by_ca, other_key), lab.ca)


@pytest.mark.parametrize(
    "names",
    [
        [],
        [uri("peerd://peer/" + "ab" * 16)],
        [dns("bob.peerd")],
        [uri("peerd://peer/" + "ab" * 16), dns("bob")],
        [uri("peerd://peer/" + "ab" * 16), dns(".peerd")],
        [uri("peerd://peer/" + "ab" * 16), dns("Bob.peerd")],
        [uri("peerd://peer/" + "ab" * 16), dns("b.ob.peerd")],
        [uri("peerd://peer/" + "AB" * 16), dns("bob.peerd")],
        [uri("peerd://peer/" + "ab" * 15), dns("bob.peerd")],
        [uri("peerd://peer/" + "ab" * 16 + "/"), dns("bob.peerd")],
        [uri("peerd://peer/" + "ab" * 16), dns("bob.peerd"), dns("eve.peerd")],
        [uri("peerd://peer/" + "ab" * 16), uri("peerd://peer/" + "cd" * 16), dns("bob.peerd")],
        [uri("peerd://peer/" + "ab" * 16), uri("peerd://peer/" + "cd" * 16)],
        [uri("peerd://operator/admin/bob"), dns("bob.peerd")],
    ],
    ids=str,
)
def test_a_member_has_exactly_one_id_and_name(lab, names):
    assert member_of(resign(lab.link(1), lab.key, names=names)) is None


def test_a_member_is_no_ca_and_has_a_key_for_tls(lab):
    leaf = lab.link(1)
    ca = x509.BasicConstraints(ca=True, path_length=None)
    assert member_of(resign(leaf, lab.key, without=x509.BasicConstraints, more=[(ca, True)])) is None
    assert member_of(resign(leaf, lab.key, without=x509.BasicConstraints)) is None
    for other in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())):
        assert member_of(resign(leaf, lab.key, public=other.public_key())) is None


@pytest.mark.parametrize("names", [[], [uri("peerd://operator/root/eve")], [uri("peerd://operator/admin/")]])
def test_operators_have_a_role_and_a_name(lab, names):
    assert operator_of(resign(lab.operator(), lab.key, names=names)) is None


def test_a_delegates_certificate_is_exactly_so(lab):
    """Above all it is never one that TLS would let issue operators."""
    _, good = lab.delegate(1)
    constraints = good.extensions.get_extension_for_class(x509.NameConstraints).value
    wider = x509.NameConstraints([*constraints.permitted_subtrees, uri("operator")], None)
    narrower = x509.NameConstraints(constraints.permitted_subtrees[:1], None)
    longer = x509.BasicConstraints(ca=True, path_length=1)
    usage = good.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    other_user = x509.Name([x509.NameAttribute(x509.NameOID.USER_ID, "ab" * 16)])
    for changed in (
        resign(good, lab.key, without=x509.NameConstraints),
        resign(good, lab.key, without=x509.NameConstraints, more=[(wider, True)]),
        resign(good, lab.key, without=x509.NameConstraints, more=[(narrower, True)]),
        resign(good, lab.key, without=x509.NameConstraints, more=[(constraints, False)]),
        resign(good, lab.key, without=x509.BasicConstraints, more=[(longer, True)]),
        resign(good, lab.key, without=x509.KeyUsage),
        resign(good, lab.key, without=x509.SubjectAlternativeName),
        resign(good, lab.key, names=[uri("peerd://delegate/" + "ab" * 16)]),
        resign(good, lab.key, subject=other_user),
        resign(good, lab.key, subject=lab.ca.subject),
        resign(good, lab.key, public=ed25519.Ed25519PrivateKey.generate().public_key()),
    ):
        assert delegate_of(changed) is None
    assert delegate_of(resign(good, lab.key)) == lab.peer(1).id


def test_only_peers_that_are_named_right_are_issuers(lab):
    for user in ("", "ab", "zz" * 16, "ab" * 17):
        attributes = [x509.NameAttribute(x509.NameOID.USER_ID, user)] if user else []
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x"), *attributes])
        assert issuing_delegate(resign(lab.link(1), lab.key, issuer=name)) is None


def test_nothing_outlives_its_issuer(lab):
    key, delegate = lab.delegate(1, days=3)
    leaf = lab.link(2, (key, delegate))
    assert leaf.not_valid_after_utc == delegate.not_valid_after_utc
    assert lab.link(2, days=2).not_valid_after_utc < leaf.not_valid_after_utc
    long = delegate_certificate(lab.peer(1).id, "x", key.public_key(), lab.ca, lab.key, 10_000)
    assert long.not_valid_after_utc == lab.ca.not_valid_after_utc


def test_what_replaces_another_is_newer(lab):
    first = lab.link(1)
    second = lab.link(1, instead_of=first)
    third = lab.link(1, instead_of=second)
    assert not_before(first) < not_before(second) < not_before(third) < lab.wall


def test_the_dates_count(lab):
    leaf = lab.link(1, days=10)
    start, end = not_before(leaf), leaf.not_valid_after_utc.timestamp()
    assert end - start == pytest.approx(10 * DAY + 3600, abs=2)
    assert [is_valid_at(leaf, wall) for wall in (start - 1, start, end, end + 1)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_ca_has_room_for_one_delegate_below_it():
    key = new_key()
    basic = make_ca("lab", key).extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.path_length) == (True, 1)


def test_a_ca_of_another_kind_is_none(lab):
    basic = x509.BasicConstraints(ca=False, path_length=None)
    assert not is_authority(resign(lab.ca, lab.key, without=x509.BasicConstraints, more=[(basic, True)]))
    assert not is_authority(resign(lab.ca, lab.key, without=x509.KeyUsage))
    assert not is_authority(resign(lab.ca, new_key()))
    big = ec.generate_private_key(ec.SECP384R1())
    assert not is_authority(resign(lab.ca, big, public=big.public_key()))


@pytest.fixture(scope="module")
def three_kinds(lab):
    return [der(certificate) for certificate in (lab.link(1), lab.delegate(1)[1], lab.operator())]


@settings(deadline=None)
@given(st.data())
def test_no_bytes_crash_the_readers(lab, three_kinds, data):
    encoded = bytearray(data.draw(st.sampled_from(three_kinds)))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    certificate = load_der(bytes(encoded))
    if certificate is not None:
        for read in (member_of, delegate_of, operator_of, issuing_delegate, is_authority):
            read(certificate)
        is_issued_by(certificate, lab.ca)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_other_bytes_are_no_certificate(data):
    assert load_der(data) is None


def test_the_key_of_a_link_may_be_only_p256(lab):
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ValueError, match="P-256"):
        certificates.public_key_of(resign(lab.link(1), lab.key, public=other))


def test_backdating_is_an_hour(lab):
    leaf = link_certificate(lab.describe(1), lab.peer(1).link.public_key(), lab.ca, lab.key)
    age = datetime.datetime.now(datetime.UTC) - leaf.not_valid_before_utc
    assert datetime.timedelta(hours=1) <= age < datetime.timedelta(hours=1, minutes=2)
