from __future__ import annotations

import base64
import datetime
import json
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.config import NetworkConfig
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, PeerdError
from peerd.membership import Authority, Bundle, Identity, PeerState, certificates


@pytest.fixture
def bundle(authority, identity) -> Bundle:
    return authority.enroll(identity.request())


def test_installed_it_makes_a_peer_ready(bundle, identity, tmp_path):
    path = tmp_path / "net" / "bundles" / "alice.bundle"
    Bundle.load(path).install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert state.name == "alice"
    assert state.peer_id == identity.peer_id
    assert state.network == NetworkConfig(name="lab", body_bytes=4096)
    assert state.roster == (identity.descriptor,)


def test_a_newer_bundle_replaces_the_older(bundle, authority, tmp_path):
    bundle.install(tmp_path / "alice")
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    Bundle.load(tmp_path / "net" / "bundles" / "alice.bundle").install(tmp_path / "alice")
    assert [d.name for d in PeerState.load(tmp_path / "alice").roster] == ["alice", "bob"]


def test_no_private_key_is_in_it(bundle, identity, private_parts):
    outer = json.loads(bundle.encoded)
    plain = bundle.encoded + base64.b64decode(outer["body"])
    assert not any(part in plain for part in private_parts(identity))


def test_another_peers_bundle_is_denied(bundle, authority, tmp_path):
    bob = authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    with pytest.raises(DeniedError, match="for another peer, not for alice"):
        bob.install(tmp_path / "alice")
    assert not (tmp_path / "alice" / "bundle.json").exists()
    (tmp_path / "alice" / "bundle.json").write_bytes(bob.encoded)
    with pytest.raises(DeniedError, match="for another peer"):
        PeerState.load(tmp_path / "alice")


def test_a_bundle_of_another_network_does_not_replace_ours(bundle, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    with pytest.raises(ConflictError, match="another network"):
        other.enroll(identity.request()).install(tmp_path / "alice")


def test_without_keys_or_bundle_it_says_what_to_do(bundle, tmp_path):
    with pytest.raises(NotFoundError, match="peerd init"):
        bundle.install(tmp_path)
    with pytest.raises(NotFoundError, match="peerd join"):
        PeerState.load(tmp_path / "alice")
    with pytest.raises(NotFoundError, match="authority"):
        Bundle.load(tmp_path / "gone.bundle")


def outer_changed(bundle, at, value):
    """The bundle with one byte of its signed body changed."""
    outer = json.loads(bundle.encoded)
    body = bytearray(base64.b64decode(outer["body"]))
    body[at % len(body)] ^= value
    outer["body"] = base64.b64encode(bytes(body)).decode()
    return json.dumps(outer).encode()


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_change_of_the_body_is_refused_in_one_line(bundle, at, value):
    with pytest.raises((DeniedError, InvalidInputError)) as error:
        Bundle.decode(outer_changed(bundle, at, value), "here")
    assert str(error.value).startswith("here: ")
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(data):
    with pytest.raises(InvalidInputError, match="here: not a peerd bundle"):
        Bundle.decode(data, "here")


def test_a_bundle_signed_by_another_authority_is_a_bad_ca(bundle, tmp_path):
    """Mallory's signature under our CA's certificate."""
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    forged = Bundle.make(
        bundle.network,
        bundle.ca_pem,
        other._key,
        bundle.roster[0],
        bundle.certificate_pem,
        bundle.roster,
    )
    with pytest.raises(DeniedError, match="bad CA"):
        Bundle.decode(forged.encoded, "here")


def test_a_link_certificate_of_another_authority_is_a_bad_ca(authority, bundle, identity, tmp_path):
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    foreign = other.enroll(identity.request())
    forged = Bundle.make(
        bundle.network,
        bundle.ca_pem,
        authority._key,
        bundle.roster[0],
        foreign.certificate_pem,
        bundle.roster,
    )
    with pytest.raises(DeniedError, match="bad CA"):
        Bundle.decode(forged.encoded, "here")


@pytest.mark.parametrize("days", [-1, 826])
def test_outside_its_time_the_certificate_is_refused_with_the_dates(bundle, identity, monkeypatch, days):
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda _: then), UTC=datetime.UTC)
    monkeypatch.setattr("peerd.membership.bundle.datetime", clock)
    with pytest.raises(DeniedError, match=r"valid from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d"):
        bundle.check_belongs_to(identity, "here")


def test_a_network_that_this_version_does_not_know_is_refused(authority, bundle):
    raw = json.loads(base64.b64decode(json.loads(bundle.encoded)["body"]))
    raw["network"]["body_bytes"] = 1
    body = json.dumps(raw).encode()
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signature = authority._key.sign(b"peerd bundle v1\0" + body, ec.ECDSA(hashes.SHA256()))
    outer = {name: base64.b64encode(v).decode() for name, v in (("body", body), ("signature", signature))}
    with pytest.raises(PeerdError, match="body_bytes"):
        Bundle.decode(json.dumps(outer).encode(), "here")


def test_the_certificates_module_makes_what_tls_needs(bundle):
    assert bundle.certificate_pem.startswith(b"-----BEGIN CERTIFICATE-----")
    assert certificates.LEAF_DAYS < certificates.CA_DAYS


def test_identities_are_not_confused_by_name(authority, bundle, tmp_path):
    """The bundle belongs to keys, not to a name."""
    impostor = Identity.create(tmp_path / "impostor", "alice", "192.0.2.1:9101")
    with pytest.raises(DeniedError, match="for another peer"):
        bundle.check_belongs_to(impostor, "here")
