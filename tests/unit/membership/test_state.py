from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import DeniedError, InvalidInputError
from peerd.membership import Identity, PeerState, certificates
from peerd.membership.bundle import OlderBundleError
from peerd.membership.records import certificate_record
from peerd.membership.roster import Refused, Roster
from peerd.membership.trust import Trust


@pytest.fixture
def bundle(authority, identity, tmp_path):
    return authority.enroll(identity.request()).install(tmp_path / "alice")


@pytest.fixture
def state(bundle, tmp_path) -> PeerState:
    return PeerState.load(tmp_path / "alice")


def test_it_has_what_the_bundle_says(state, bundle, authority, identity):
    assert state.authorities == bundle.authorities == authority.authorities
    assert state.chain == bundle.chain
    assert state.records == bundle.records
    assert state.ca_pem == certificates.pem(authority.authorities[0])
    assert state.certificate_pem == certificates.pem(state.certificate)
    assert state.link_key_pem == identity.link_key_pem
    assert state.delegation is None


def test_it_says_when_its_certificates_end(state, authority):
    def end(certificate):
        return certificate.not_valid_after_utc.timestamp()

    assert state.expiries == {"link": end(state.certificate), "authority": end(authority.authorities[0])}
    long, short = authority.authorities[0], state.certificate
    delegate = replace(state, chain=(long, short), delegation=short)
    assert delegate.expiries["link"] == delegate.expiries["delegation"] == end(short) < end(long)


def test_no_key_in_its_repr(state, identity, private_parts):
    assert not any(part in repr(state).encode() for part in private_parts(identity))


def heard(authority, state, tmp_path):
    """What this peer's roster is after a change of the CA that came by gossip."""
    trust = Trust("lab", state.authorities)
    roster = Roster("lab", trust, 10, state.peer_id)
    for record in (*state.records, *authority.rotate_ca().records, *authority.finish_rotation().records):
        assert not isinstance(roster.offer(record, time.time()), Refused)
    return roster


def test_what_was_renewed_by_gossip_comes_back_after_a_restart(state, authority, tmp_path):
    roster = heard(authority, state, tmp_path)
    renewed = state.renewed(roster.trust.authorities, roster.member(state.peer_id).certificate, None)
    assert renewed != state
    renewed.save_renewal(tmp_path / "alice")
    again = PeerState.load(tmp_path / "alice")
    assert again.authorities == authority.authorities
    assert again.certificate == authority.peers[0].certificate
    assert certificates.is_issued_by(again.certificate, again.authorities[0])
    saved = (tmp_path / "alice" / "renewal.json").read_bytes()
    assert (tmp_path / "alice" / "renewal.json").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in saved


def test_nothing_new_is_the_same_state(state):
    assert state.renewed(state.authorities, state.certificate, None) is state
    two = state.renewed((*state.authorities, certificates.make_ca("lab", certificates.new_key())),
                        state.certificate, None)  # fmt: skip
    assert two is not state
    assert two.renewed(reversed(two.authorities), state.certificate, None) is two


def test_a_bundle_of_before_the_renewal_is_older(state, bundle, authority, identity, tmp_path):
    between = authority.sign(identity.request())
    roster = heard(authority, state, tmp_path)
    renewed = state.renewed(roster.trust.authorities, roster.member(state.peer_id).certificate, None)
    renewed.save_renewal(tmp_path / "alice")
    with pytest.raises(OlderBundleError):
        between.install(tmp_path / "alice")
    bundle.install(tmp_path / "alice")  # the installed one itself, as `peerd run --bundle` does at each start
    assert PeerState.load(tmp_path / "alice").authorities == authority.authorities


def test_the_next_bundle_ends_the_renewal(state, authority, identity, tmp_path):
    roster = heard(authority, state, tmp_path)
    renewed = state.renewed(roster.trust.authorities, roster.member(state.peer_id).certificate, None)
    renewed.save_renewal(tmp_path / "alice")
    newer = authority.sign(identity.request()).install(tmp_path / "alice")
    assert PeerState.load(tmp_path / "alice").certificate == newer.chain[0]


def test_a_newcomers_chain_is_renewed_with_its_delegates(authority, tmp_path):
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    authority.delegate("bob")
    bob, carol = Identity.load(tmp_path / "bob"), Identity.create(tmp_path / "carol", "carol", "h:1")
    delegation = authority.peers[0].delegation
    certificate = certificates.link_certificate(
        carol.descriptor, carol.link_public(), delegation, bob.link_key
    )
    from peerd.membership import Bundle

    Bundle.make(
        network=authority.network,
        authorities=authority.authorities,
        chain=(certificate, delegation),
        key=bob.link_key,
        records=(certificate_record(certificate),),
        issued_at=time.time(),
    ).install(tmp_path / "carol")
    authority.rotate_ca()
    authority.finish_rotation()
    state = PeerState.load(tmp_path / "carol")
    fresh = authority.peers[0].delegation
    state.renewed(authority.authorities, certificate, fresh).save_renewal(tmp_path / "carol")
    assert PeerState.load(tmp_path / "carol").chain == (certificate, fresh)


def test_a_certificate_that_was_renewed_in_time_counts(authority, identity, tmp_path, monkeypatch):
    """The bundle's own may be long over."""
    long_ago = certificates.link_certificate
    monkeypatch.setattr(certificates, "link_certificate", lambda *a, **k: long_ago(*a, days=-0.01, **k))
    bundle = authority.enroll(identity.request())
    with pytest.raises(DeniedError, match="valid from"):
        bundle.install(tmp_path / "alice")
    monkeypatch.undo()
    (tmp_path / "alice" / "bundle.json").write_bytes(bundle.encoded)
    with pytest.raises(DeniedError, match="valid from"):
        PeerState.load(tmp_path / "alice")
    from peerd.membership.renewal import Renewal

    fresh = authority.sign(identity.request()).chain
    Renewal(authority.authorities, fresh).save(tmp_path / "alice", bundle.digest)
    assert PeerState.load(tmp_path / "alice").chain == fresh


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_broken_renewal_is_one_clear_line(state, tmp_path, data):
    state.save_renewal(tmp_path / "alice")
    path = tmp_path / "alice" / "renewal.json"
    good = path.read_bytes()
    fields = json.loads(good)
    how = data.draw(st.sampled_from(["cut", "empty", "junk"]))
    if how == "cut":
        path.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    else:
        fields[data.draw(st.sampled_from(["authorities", "certificate"]))] = "" if how == "empty" else "junk"
        path.write_text(json.dumps(fields))
    with pytest.raises(InvalidInputError, match=r"renewal\.json: broken file; remove it"):
        PeerState.load(tmp_path / "alice")
