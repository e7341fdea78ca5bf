from __future__ import annotations

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from peerd.config import NetworkConfig
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError
from peerd.membership import Authority, Bundle, Identity, certificates
from peerd.store import StateLock


def certificate_of(bundle: Bundle) -> x509.Certificate:
    return x509.load_pem_x509_certificate(bundle.certificate_pem)


def test_a_new_network_comes_back_from_disk(authority, tmp_path):
    again = Authority.load(tmp_path / "net")
    assert again.network == NetworkConfig(name="lab", body_bytes=4096)
    assert again.roster() == ()
    assert (tmp_path / "net" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "net").stat().st_mode & 0o777 == 0o700


def test_a_network_is_never_overwritten(authority, tmp_path):
    key = (tmp_path / "net" / "ca.key").read_bytes()
    with pytest.raises(ConflictError, match="a network lies here already"):
        Authority.create(tmp_path / "net", NetworkConfig(name="other"))
    assert (tmp_path / "net" / "ca.key").read_bytes() == key


def test_enrolling_signs_a_peer_in(authority, identity, tmp_path):
    bundle = authority.enroll(identity.request())
    assert bundle.peer_id == identity.peer_id.hex()
    assert bundle.network == authority.network
    assert bundle.roster == authority.roster() == (identity.descriptor,)
    assert Bundle.load(tmp_path / "net" / "bundles" / "alice.bundle") == bundle


def test_the_link_certificate_is_for_this_key_and_this_peer(authority, identity):
    certificate = certificate_of(authority.enroll(identity.request()))
    assert certificate.public_key() == identity.link_public()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"peerd://peer/{identity.peer_id.hex()}"]
    assert names.get_values_for_type(x509.DNSName) == ["alice.peerd"]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now
    assert certificate.not_valid_after_utc < now + datetime.timedelta(days=826)


def test_everybodys_bundle_has_the_new_peer(authority, tmp_path):
    for n, name in enumerate(("alice", "bob", "carol")):
        authority.enroll_local(name, f"192.0.2.1:{9101 + n}", tmp_path / name)
        assert {d.name for d in authority.roster()} == {p.stem for p in bundles(tmp_path)}
    rosters = [Bundle.load(path).roster for path in bundles(tmp_path)]
    assert rosters == [authority.roster()] * 3
    assert [d.name for d in authority.roster()] == ["alice", "bob", "carol"]
    assert Authority.load(tmp_path / "net").roster() == authority.roster()


def bundles(tmp_path):
    return sorted((tmp_path / "net" / "bundles").glob("*.bundle"))


def test_a_name_twice_is_a_conflict(authority, identity, tmp_path):
    authority.enroll(identity.request())
    other = Identity.create(tmp_path / "x", "alice", "192.0.2.9:9101")
    with pytest.raises(ConflictError, match="alice: a peer of this name is enrolled already"):
        authority.enroll(other.request())
    with pytest.raises(ConflictError, match="alice: a peer of this name"):
        authority.enroll_local("alice", "192.0.2.9:9101", tmp_path / "y")
    assert not (tmp_path / "y").exists()
    assert authority.roster() == (identity.descriptor,)


def rename(tmp_path, identity, name):
    """The keys of `identity` under another name."""
    keys = json.loads((tmp_path / identity.name / "identity.json").read_bytes())
    keys["name"] = name
    (tmp_path / name).mkdir()
    (tmp_path / name / "identity.json").write_text(json.dumps(keys))
    return tmp_path / name / "identity.json"


def test_an_identity_twice_is_a_conflict(authority, identity, tmp_path):
    authority.enroll(identity.request())
    twin = rename(tmp_path, identity, "twin")
    with pytest.raises(ConflictError, match="enrolled already, as alice"):
        authority.enroll(Identity.load(twin.parent).request())


def test_enrolments_by_two_processes_do_not_forget_each_other(authority, tmp_path):
    other = Authority.load(tmp_path / "net")
    authority.enroll_local("alice", "192.0.2.1:9101", tmp_path / "alice")
    other.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    assert [d.name for d in Authority.load(tmp_path / "net").roster()] == ["alice", "bob"]
    with pytest.raises(ConflictError, match="alice"):
        other.enroll_local("alice", "192.0.2.1:9103", tmp_path / "again")


def test_an_enrolment_under_way_is_a_conflict(authority, identity, tmp_path):
    with StateLock(tmp_path / "net"), pytest.raises(ConflictError, match="try again"):
        authority.enroll(identity.request())


def test_a_full_disk_is_one_clear_line(authority, identity, tmp_path):
    (tmp_path / "net" / "bundles").write_bytes(b"")  # where a folder must come
    with pytest.raises(InvalidInputError, match="cannot be written"):
        authority.enroll(identity.request())


@pytest.mark.parametrize("name", ["network.json", "roster.json", "ca.pem", "ca.key"])
def test_a_missing_or_broken_file_is_one_clear_line(authority, tmp_path, name):
    path = tmp_path / "net" / name
    path.write_bytes(b"-----BEGIN NONSENSE-----")
    with pytest.raises(InvalidInputError) as error:
        Authority.load(tmp_path / "net")
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(NotFoundError, match="peerctl network create"):
        Authority.load(tmp_path / "net")


def test_a_key_of_another_ca_is_denied(authority, tmp_path):
    Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    (tmp_path / "net" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(DeniedError, match="bad CA"):
        Authority.load(tmp_path / "net")


def test_a_tampered_roster_is_refused(authority, identity, tmp_path):
    authority.enroll(identity.request())
    path = tmp_path / "net" / "roster.json"
    entries = json.loads(path.read_bytes())
    entries[0]["descriptor"] = entries[0]["descriptor"][:-8] + "AAAAAAA="
    path.write_text(json.dumps(entries))
    with pytest.raises(InvalidInputError, match=r"roster\.json: a descriptor is broken"):
        Authority.load(tmp_path / "net")


@pytest.mark.parametrize("name", ["network.json", "roster.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\x80", b'{"\x80": 1}', b'[{"descriptor": "\x80"}]', b"[7]"])
def test_no_bytes_in_a_file_are_more_than_one_clear_line(authority, tmp_path, name, content):
    """msgspec has an exception of another kind for what is not UTF-8."""
    (tmp_path / "net" / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name) as error:
        Authority.load(tmp_path / "net")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_an_operators_certificate_carries_the_role(authority, tmp_path, role):
    path = authority.operator("ops", role, tmp_path / "out")
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"peerd://operator/{role}/ops"]
    ca = x509.load_pem_x509_certificate((tmp_path / "out" / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert (tmp_path / "out" / "ops.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConflictError, match="exists already"):
        authority.operator("ops", role, tmp_path / "out")


def test_the_ca_is_an_authority_and_nothing_else():
    ca = certificates.make_ca("lab", ec.generate_private_key(ec.SECP256R1()))
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
