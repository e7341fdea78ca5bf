from __future__ import annotations

import base64
import datetime
import json
import time
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.config import NetworkConfig
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError, PeerdError
from peerd.membership import Authority, Bundle, Identity, PeerState, certificates
from peerd.membership.bundle import OlderBundleError
from peerd.membership.records import certificate_record


@pytest.fixture
def bundle(authority, identity) -> Bundle:
    return authority.enroll(identity.request())


@pytest.fixture
def bob(authority, tmp_path) -> Identity:
    """A delegate."""
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    authority.delegate("bob")
    return Identity.load(tmp_path / "bob")


@pytest.fixture
def delegation(authority, bob):
    return authority.peers[0].delegation


def by_delegate(authority, bob, delegation, newcomer, **changes) -> Bundle:
    """What a delegate makes for a newcomer."""
    certificate = certificates.link_certificate(
        newcomer.descriptor, newcomer.link_public(), delegation, bob.link_key
    )
    fields = {
        "network": authority.network,
        "authorities": authority.authorities,
        "chain": (certificate, delegation),
        "key": bob.link_key,
        "records": (certificate_record(certificate),),
        "issued_at": time.time(),
    }
    return Bundle.make(**(fields | changes))


# -- installing ------------------------------------------------------------------------------------


def test_installed_it_makes_a_peer_ready(bundle, identity, tmp_path):
    path = tmp_path / "net" / "bundles" / "alice.bundle"
    Bundle.load(path).install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert (state.name, state.peer_id) == ("alice", identity.peer_id)
    assert state.network == NetworkConfig(name="lab", body_bytes=4096)
    assert state.roster == (identity.descriptor,)
    assert not state.is_delegate


def test_a_newer_bundle_replaces_the_older_and_never_the_reverse(bundle, authority, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    authority.write_bundles()["alice"].install(tmp_path / "alice")
    assert [d.name for d in PeerState.load(tmp_path / "alice").roster] == ["alice", "bob"]
    with pytest.raises(OlderBundleError, match="newer than this one, and stays"):
        bundle.install(tmp_path / "alice")
    renewed = authority.sign(identity.request()).install(tmp_path / "alice")
    with pytest.raises(ConflictError, match="newer than this one"):
        bundle.install(tmp_path / "alice")
    assert PeerState.load(tmp_path / "alice").certificate == renewed.chain[0]


def test_the_same_once_more_is_no_error(bundle, tmp_path):
    for _ in range(2):
        bundle.install(tmp_path / "alice")


def test_no_private_key_is_in_it(bundle, identity, private_parts):
    outer = json.loads(bundle.encoded)
    plain = bundle.encoded + base64.b64decode(outer["body"])
    assert not any(part in plain for part in private_parts(identity))


def test_another_peers_bundle_is_denied(bundle, authority, tmp_path):
    other = authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    with pytest.raises(DeniedError, match="for another peer, not for alice"):
        other.install(tmp_path / "alice")
    assert not (tmp_path / "alice" / "bundle.json").exists()
    (tmp_path / "alice" / "bundle.json").write_bytes(other.encoded)
    with pytest.raises(DeniedError, match="for another peer"):
        PeerState.load(tmp_path / "alice")


def test_identities_are_not_confused_by_name(bundle, tmp_path):
    """The bundle belongs to keys, not to a name."""
    impostor = Identity.create(tmp_path / "impostor", "alice", "192.0.2.1:9101")
    with pytest.raises(DeniedError, match="for another peer"):
        bundle.check_belongs_to(impostor, "here")


def test_a_bundle_of_another_network_does_not_replace_ours(bundle, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab", body_bytes=4096))
    with pytest.raises(ConflictError, match="another network"):
        other.enroll(identity.request()).install(tmp_path / "alice")


def test_nor_do_other_parameters_under_the_same_ca(bundle, authority, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    authority.network = msgspec.structs.replace(authority.network, body_bytes=8192)
    with pytest.raises(ConflictError, match="another network"):
        authority.sign(identity.request()).install(tmp_path / "alice")


def test_without_keys_or_bundle_it_says_what_to_do(bundle, tmp_path):
    with pytest.raises(NotFoundError, match="peerd init"):
        bundle.install(tmp_path)
    with pytest.raises(NotFoundError, match="peerd join"):
        PeerState.load(tmp_path / "alice")
    with pytest.raises(NotFoundError, match="authority"):
        Bundle.load(tmp_path / "gone.bundle")


@pytest.mark.parametrize("days", [-1, 826])
def test_outside_its_time_the_certificate_is_refused_with_the_dates(bundle, identity, monkeypatch, days):
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    clock = SimpleNamespace(datetime=SimpleNamespace(now=lambda _: then), UTC=datetime.UTC)
    monkeypatch.setattr("peerd.membership.bundle.datetime", clock)
    with pytest.raises(DeniedError, match=r"valid from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d.*network sign"):
        bundle.check_belongs_to(identity, "here")


# -- another CA ------------------------------------------------------------------------------------


def test_a_new_ca_is_taken_over_from_one_that_is_trusted(bundle, authority, tmp_path):
    bundle.install(tmp_path / "alice")
    authority.rotate_ca()
    authority.write_bundles()["alice"].install(tmp_path / "alice")
    assert len(PeerState.load(tmp_path / "alice").authorities) == 2
    authority.finish_rotation()
    authority.write_bundles()["alice"].install(tmp_path / "alice")
    assert PeerState.load(tmp_path / "alice").authorities == authority.authorities
    with pytest.raises(OlderBundleError):
        bundle.install(tmp_path / "alice")


def test_a_new_ca_without_a_record_is_another_network(bundle, authority, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    rotation = authority.rotate_ca()
    (newer,) = rotation.bundles
    naked = Bundle.make(
        network=newer.network,
        authorities=newer.authorities,
        chain=newer.chain,
        key=authority._signing_key(),
        records=newer.records[1:],
        issued_at=newer.issued_at,
    )
    with pytest.raises(ConflictError, match="another network"):
        naked.install(tmp_path / "alice")
    newer.install(tmp_path / "alice")


# -- made by a delegate ----------------------------------------------------------------------------


def test_a_delegate_makes_one_for_a_newcomer(authority, bob, delegation, identity, tmp_path):
    made = by_delegate(authority, bob, delegation, identity)
    assert made.issuer == delegation
    made.install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert state.chain == (made.chain[0], delegation)
    assert state.certificate_pem.count(b"BEGIN CERTIFICATE") == 2


def test_a_delegates_never_replaces_the_authoritys(authority, bob, delegation, bundle, identity, tmp_path):
    bundle.install(tmp_path / "alice")
    with pytest.raises(OlderBundleError):
        by_delegate(authority, bob, delegation, identity).install(tmp_path / "alice")


def test_the_authoritys_replaces_a_delegates(authority, bob, delegation, identity, tmp_path):
    by_delegate(authority, bob, delegation, identity).install(tmp_path / "alice")
    authority.sign(identity.request()).install(tmp_path / "alice")
    assert len(PeerState.load(tmp_path / "alice").chain) == 1


def test_who_is_no_delegate_cannot_make_one(authority, bob, delegation, identity, tmp_path):
    carol = authority.enroll_local("carol", "192.0.2.1:9103", tmp_path / "carol")
    keys = Identity.load(tmp_path / "carol")
    with pytest.raises(DeniedError, match="bad CA"):  # her link certificate in the place of a delegate's
        by_delegate(authority, keys, carol.chain[0], identity)
    with pytest.raises(DeniedError, match="bad CA"):  # bob's certificate, but her signatures
        by_delegate(authority, keys, delegation, identity)


def test_a_delegate_cannot_bring_in_a_ca_of_its_own(authority, bob, delegation, identity, tmp_path):
    by_delegate(authority, bob, delegation, identity).install(tmp_path / "alice")
    own = certificates.make_ca("lab", certificates.new_key())
    forged = by_delegate(
        authority,
        bob,
        delegation,
        identity,
        authorities=(*authority.authorities, own),
        issued_at=time.time() + 60,
    )
    with pytest.raises(ConflictError, match="another network"):
        forged.install(tmp_path / "alice")


def test_a_delegate_is_no_ca(authority, bob, delegation, identity):
    certificate = certificates.link_certificate(
        identity.descriptor, identity.link_public(), delegation, bob.link_key
    )
    with pytest.raises(DeniedError, match="bad CA"):
        by_delegate(authority, bob, delegation, identity, authorities=(delegation,), chain=(certificate,))


# -- hostile bytes ---------------------------------------------------------------------------------


def outer_changed(bundle, at, value):
    """The bundle with one byte of its signed body changed."""
    outer = json.loads(bundle.encoded)
    body = bytearray(base64.b64decode(outer["body"]))
    body[at % len(body)] ^= value
    outer["body"] = base64.b64encode(bytes(body)).decode()
    return json.dumps(outer).encode()


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_change_of_the_body_is_refused_in_one_line(bundle, at, value):
    with pytest.raises((DeniedError, InvalidInputError)) as error:
        Bundle.decode(outer_changed(bundle, at, value), "here")
    assert str(error.value).startswith("here: ")
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(data):
    with pytest.raises(InvalidInputError, match="here: not a bundle"):
        Bundle.decode(data, "here")


def test_a_bundle_signed_by_another_authority_is_a_bad_ca(bundle, tmp_path):
    """Mallory's signature under our CA's certificate."""
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    with pytest.raises(DeniedError, match="bad CA"):
        Bundle.make(
            network=bundle.network,
            authorities=bundle.authorities,
            chain=bundle.chain,
            key=other._signing_key(),
            records=(),
            issued_at=time.time(),
        )


def test_a_link_certificate_of_another_authority_is_a_bad_ca(authority, bundle, identity, tmp_path):
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    foreign = other.enroll(identity.request())
    for key in (authority._signing_key(), other._signing_key()):
        with pytest.raises(DeniedError, match="bad CA"):
            Bundle.make(
                network=bundle.network,
                authorities=bundle.authorities,
                chain=foreign.chain,
                key=key,
                records=(),
                issued_at=time.time(),
            )


def test_a_network_that_this_version_does_not_know_is_refused(bundle, authority):
    network = msgspec.structs.replace(bundle.network)
    msgspec.structs.force_setattr(network, "body_bytes", 1)
    with pytest.raises(PeerdError, match="body_bytes"):
        Bundle.make(
            network=network,
            authorities=bundle.authorities,
            chain=bundle.chain,
            key=authority._signing_key(),
            records=(),
            issued_at=time.time(),
        )


def test_broken_records_in_it_are_left_to_the_roster(bundle, authority, tmp_path):
    odd = Bundle.make(
        network=bundle.network,
        authorities=bundle.authorities,
        chain=bundle.chain,
        key=authority._signing_key(),
        records=(b"", b"\xff", *bundle.records),
        issued_at=time.time(),
    )
    odd.install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert [d.name for d in state.roster] == ["alice"]
    assert not state.is_delegate
