from __future__ import annotations

import os
import ssl
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership import Bundle, Identity, PeerState, certificates
from peerd.membership.records import certificate_record
from peerd.membership.tls import (
    client_ssl_context,
    enrolment_ssl_context,
    issuing_delegate_of,
    peer_of,
    server_ssl_context,
)

ID = bytes(range(16))


@pytest.fixture
def state(authority, tmp_path) -> PeerState:
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob").install(tmp_path / "bob")
    return PeerState.load(tmp_path / "bob")


@pytest.mark.parametrize("make", [server_ssl_context, client_ssl_context])
def test_tls_1_3_only_and_certificates_required(state, make):
    context = make(state)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1  # ours; the system's are nobody here


def test_the_server_gives_no_session_tickets(state):
    assert server_ssl_context(state).num_tickets == 0


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_is_left_in_no_file(state, monkeypatch, tmp_path, memory):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    client_ssl_context(state)
    assert list(folder.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_broken_ca_is_one_clear_line(state):
    from dataclasses import replace

    for broken in (replace(state, authorities=()), replace(state, chain=())):
        with pytest.raises(InvalidInputError, match="bad CA") as error:
            server_ssl_context(broken)
        assert "\n" not in str(error.value)


def test_a_certificate_names_its_peer():
    names = (("DNS", "bob.peerd"), ("URI", f"peerd://peer/{ID.hex()}"))
    assert peer_of({"subjectAltName": names}) == ID


@pytest.mark.parametrize(
    "certificate",
    [
        None,
        {},
        {"subjectAltName": ()},
        {"subjectAltName": (("URI", f"peerd://operator/admin/{ID.hex()}"),)},
        {"subjectAltName": (("DNS", f"peerd://peer/{ID.hex()}"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex()}/x"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex().upper()}"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex()}\n"),)},
        {"subjectAltName": (("URI", "peerd://peer/abcd"),)},
    ],
)
def test_other_certificates_name_no_peer(certificate):
    assert peer_of(certificate) is None


@given(st.lists(st.tuples(st.sampled_from(["URI", "DNS"]), st.text(max_size=60)), max_size=5))
def test_no_names_crash(names):
    assert peer_of({"subjectAltName": tuple(names)}) is None


# -- handshakes ------------------------------------------------------------------------------------


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext):
    """(what the server sees of the client, and the client of the server); SSLError where one refuses."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True))
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    with_data = ends[0]
    with_data.write(b"x")
    assert ends[1].read(1) == b"x"  # the server's verdict on the client's certificate comes with this
    return ends[1].getpeercert(), ends[0].getpeercert()


@pytest.fixture
def join(authority, tmp_path):
    """Peers of the network by name: signed in by the CA, or by the delegate `by`."""

    def make(name: str, by: PeerState | None = None, days: float = 825.0) -> PeerState:
        folder = tmp_path / name
        if by is None:
            authority.enroll_local(name, f"{name}:1", folder).install(folder)
            return PeerState.load(folder)
        newcomer = Identity.create(folder, name, f"{name}:1")
        delegation = by.delegation
        certificate = certificates.link_certificate(
            newcomer.descriptor, newcomer.link_public(), delegation, by.identity.link_key, days
        )
        Bundle.make(
            network=authority.network,
            authorities=authority.authorities,
            chain=(certificate, delegation),
            key=by.identity.link_key,
            records=(certificate_record(certificate),),
            issued_at=time.time(),
        ).install(folder)
        return PeerState.load(folder)

    return make


@pytest.fixture
def delegate(authority, join, tmp_path) -> PeerState:
    join("dele")
    authority.delegate("dele")[1].install(tmp_path / "dele")
    return PeerState.load(tmp_path / "dele")


def test_members_know_each_other_whoever_has_signed_them_in(join, delegate):
    alice, bob, carol = join("alice"), join("bob", by=delegate), join("carol", by=delegate)
    for server, client in ((alice, bob), (bob, alice), (bob, carol), (delegate, bob), (alice, delegate)):
        seen_client, seen_server = shake_hands(server_ssl_context(server), client_ssl_context(client))
        assert (peer_of(seen_client), peer_of(seen_server)) == (client.peer_id, server.peer_id)
        for seen, peer in ((seen_client, client), (seen_server, server)):
            expected = delegate.peer_id if peer in (bob, carol) else None
            assert issuing_delegate_of(seen) == expected


def test_a_stranger_gets_no_link(join, tmp_path):
    from peerd.config import NetworkConfig
    from peerd.membership import Authority

    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    other.enroll_local("eve", "eve:1", tmp_path / "eve").install(tmp_path / "eve")
    alice, eve = join("alice"), PeerState.load(tmp_path / "eve")
    for pair in ((alice, eve), (eve, alice)):
        with pytest.raises(ssl.SSLError):
            shake_hands(server_ssl_context(pair[0]), client_ssl_context(pair[1]))


def forged(state: PeerState, *chain) -> PeerState:
    """This peer, with another chain for its own key."""
    from dataclasses import replace

    return replace(state, chain=chain)


def refused(server: PeerState, client: PeerState) -> None:
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(server_ssl_context(server), client_ssl_context(client))


def test_who_is_no_delegate_can_sign_in_nobody(join):
    alice, mallory, eve = join("alice"), join("mallory"), join("eve")
    key, public = mallory.identity.link_key, eve.identity.link_public()
    certificate = certificates.link_certificate(eve.identity.descriptor, public, mallory.certificate, key)
    refused(alice, forged(eve, certificate, mallory.certificate))


def test_a_delegate_can_make_no_operator_no_delegate_and_no_ca(join, delegate):
    alice, eve = join("alice"), join("eve")
    key, public, issuer = delegate.identity.link_key, eve.identity.link_public(), delegation_of(delegate)
    operator = certificates.operator_certificate("eve", "admin", public, issuer, key)
    refused(alice, forged(eve, operator, issuer))
    below = certificates.delegate_certificate(eve.peer_id, "eve", public, issuer, key)
    leaf = certificates.link_certificate(eve.identity.descriptor, public, below, eve.identity.link_key)
    refused(alice, forged(eve, leaf, below, issuer))


def delegation_of(state: PeerState):
    assert state.delegation is not None
    return state.delegation


def test_what_a_delegate_has_signed_ends_with_its_time(join, authority, tmp_path):
    alice = join("alice")
    join("dele")
    _, bundle = authority.delegate("dele", days=0.0)
    assert bundle.delegation.not_valid_after_utc.timestamp() <= time.time()
    dele, eve = PeerState.load(tmp_path / "dele"), join("eve")
    certificate = certificates.link_certificate(
        eve.identity.descriptor, eve.identity.link_public(), bundle.delegation, dele.identity.link_key
    )
    refused(alice, forged(eve, certificate, bundle.delegation))


def test_links_go_on_while_the_ca_changes(join, authority, tmp_path):
    """Peers that have heard of it and got their new certificates, and peers that have not."""
    before = {name: join(name) for name in ("alice", "bob")}
    authority.rotate_ca()
    ca = authority.authorities
    certified = {peer.name: peer.certificate for peer in authority.peers}
    heard = {name: state.renewed(ca, state.certificate, None) for name, state in before.items()}
    between = {name: state.renewed(ca, certified[name], None) for name, state in before.items()}
    authority.finish_rotation()
    after = {name: state.renewed(ca[:1], certified[name], None) for name, state in before.items()}
    for server, client in (
        (before, heard), (heard, heard), (heard, between), (between, heard), (between, between),
        (between, after), (after, between), (after, after),
    ):  # fmt: skip
        shake_hands(server_ssl_context(server["alice"]), client_ssl_context(client["bob"]))
    refused(after["alice"], before["bob"])
    assert len(server_ssl_context(between["alice"]).get_ca_certs()) == 2


def test_a_newcomer_without_a_certificate_may_ask_to_be_enrolled(join):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = enrolment_ssl_context(join("alice"))
    assert server.minimum_version is ssl.TLSVersion.TLSv1_3
    assert server.num_tickets == 0
    assert shake_hands(server, context)[0] is None
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(server, context)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["userId", "x"]), st.text(max_size=40)), max_size=2)))
def test_no_issuer_crashes(issuer):
    found = issuing_delegate_of({"issuer": tuple(tuple(part) for part in issuer)})
    assert found is None or len(found) == 16
