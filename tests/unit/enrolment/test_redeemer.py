from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.enrolment import redeemer
from peerd.enrolment.redeemer import Admitted, Refused, public_key_der
from peerd.enrolment.tokens import pin_of
from peerd.enrolment.wire import Ask
from peerd.errors import ConflictError, DeniedError, InvalidInputError
from peerd.membership import Bundle, Identity, PeerState, certificates
from peerd.membership.records import Kind, Member, peek
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust


@pytest.fixture
def newcomer(tmp_path) -> Identity:
    return Identity.create(tmp_path / "newcomer", "nora", "192.0.2.9:9101")


def redeem(delegate, secret, identity) -> Admitted | Refused:
    return delegate.redeemer.redeem(Ask(secret, identity.request()))


def refusal(outcome) -> Exception:
    assert isinstance(outcome, Refused), outcome
    return outcome.error


def test_who_has_a_token_is_signed_in(delegate, newcomer, tmp_path):
    secret, pin = delegate.redeemer.invite("", 60.0)
    admitted = redeem(delegate, secret, newcomer)
    assert isinstance(admitted, Admitted)
    assert (admitted.name, admitted.peer_id) == ("nora", newcomer.peer_id)
    bundle = Bundle.decode(admitted.bundle, "here")
    assert pin_of(public_key_der(bundle.issuer)) == pin
    bundle.install(tmp_path / "newcomer")
    state = PeerState.load(tmp_path / "newcomer")
    assert state.network == delegate.state.network
    assert [d.name for d in state.roster] == ["dele", "nora"]


def test_everybody_accepts_whom_a_delegate_has_signed_in(authority, delegate, newcomer, peer):
    alice = peer("alice")
    secret, _ = delegate.redeemer.invite("", 60.0)
    admitted = redeem(delegate, secret, newcomer)
    alice.hear(*admitted.records)
    member = alice.roster.member(newcomer.peer_id)
    assert isinstance(member, Member)
    assert (member.name, member.issuer) == ("nora", delegate.state.peer_id)
    assert alice.roster.descriptor(newcomer.peer_id).address == "192.0.2.9:9101"


def test_a_newcomer_accepts_all_that_it_is_told(authority, delegate, newcomer, peer):
    peer("alice")
    peer("bob")
    delegate.hear(*authority.write_bundles()["dele"].records, authority.revoke("bob"))
    secret, _ = delegate.redeemer.invite("", 60.0)
    bundle = Bundle.decode(redeem(delegate, secret, newcomer).bundle, "here")
    roster = Roster("lab", Trust("lab", bundle.authorities), 10, newcomer.peer_id)
    outcomes = [roster.offer(record, time.time()) for record in bundle.records]
    assert [outcome.kind for outcome in outcomes].count(Kind.CERTIFICATE) == 3
    assert roster.is_revoked(authority.revoked[0].id)


def test_a_second_newcomer_and_a_wrong_secret_are_refused(delegate, newcomer, tmp_path):
    secret, _ = delegate.redeemer.invite("", 60.0)
    assert isinstance(refusal(redeem(delegate, bytes(10), newcomer)), DeniedError)
    redeem(delegate, secret, newcomer)
    other = Identity.create(tmp_path / "other", "oscar", "h:1")
    assert "used already" in str(refusal(redeem(delegate, secret, other)))


def test_whose_answer_got_lost_gets_a_newer_one(delegate, newcomer):
    secret, _ = delegate.redeemer.invite("nora", 60.0)
    first, second = redeem(delegate, secret, newcomer), redeem(delegate, secret, newcomer)
    delegate.hear(*first.records)
    third = redeem(delegate, secret, newcomer)
    assert first.peer_id == second.peer_id == third.peer_id
    assert peek(third.records[0])[1] > peek(first.records[0])[1]
    delegate.hear(*third.records)


def test_an_expired_token_and_one_for_another_name_are_refused(delegate, newcomer):
    secret, _ = delegate.redeemer.invite("", 60.0)
    named, _ = delegate.redeemer.invite("oscar", 60.0)
    assert "another name" in str(refusal(redeem(delegate, named, newcomer)))
    delegate.wall.now += 61.0
    assert "expired" in str(refusal(redeem(delegate, secret, newcomer)))


@pytest.mark.parametrize("name", ["alice", "dele"])
def test_a_name_that_is_taken_is_refused_and_the_token_stays_good(delegate, peer, newcomer, tmp_path, name):
    alice = peer("alice")
    delegate.hear(*alice.state.records)
    with pytest.raises(ConflictError, match=f"named {name}"):
        delegate.redeemer.invite(name, 60.0)
    secret, _ = delegate.redeemer.invite("", 60.0)
    impostor = Identity.create(tmp_path / "impostor", name, "h:1")
    assert f"named {name} is enrolled already" in str(refusal(redeem(delegate, secret, impostor)))
    assert isinstance(redeem(delegate, secret, newcomer), Admitted)


def test_whom_the_authority_has_enrolled_it_alone_can_renew(delegate, peer):
    alice = peer("alice")
    delegate.hear(*alice.state.records)
    secret, _ = delegate.redeemer.invite("", 60.0)
    for identity in (alice.state.identity, delegate.state.identity):
        assert "by the network's authority" in str(refusal(redeem(delegate, secret, identity)))


def test_an_identity_keeps_its_name(delegate, newcomer, tmp_path):
    secret, _ = delegate.redeemer.invite("", 60.0)
    delegate.hear(*redeem(delegate, secret, newcomer).records)
    file = (tmp_path / "newcomer" / "identity.json").read_bytes()
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "identity.json").write_bytes(file.replace(b'"nora"', b'"nils"'))
    renamed = Identity.load(tmp_path / "renamed")
    assert "enrolled already, as nora" in str(refusal(redeem(delegate, secret, renamed)))


def test_who_was_revoked_stays_out(authority, delegate, newcomer):
    delegate.hear(authority.revoke(newcomer.peer_id.hex()))
    secret, _ = delegate.redeemer.invite("", 60.0)
    assert isinstance(refusal(redeem(delegate, secret, newcomer)), DeniedError)


def test_only_a_delegate_makes_tokens_and_only_as_long_as_it_is_one(authority, peer, newcomer):
    alice = peer("alice")
    with pytest.raises(DeniedError, match="peerctl network delegate NETWORK alice"):
        alice.redeemer.invite("", 60.0)
    assert isinstance(refusal(redeem(alice, bytes(10), newcomer)), DeniedError)
    alice.hear(authority.delegate("alice", days=1)[0])
    secret, _ = alice.redeemer.invite("", 3 * 86_400.0)
    alice.wall.now += 1.1 * 86_400.0
    assert isinstance(refusal(redeem(alice, secret, newcomer)), DeniedError)
    with pytest.raises(DeniedError, match="its time is over"):
        alice.redeemer.invite("", 60.0)


def test_a_revoked_delegate_signs_in_nobody(authority, delegate, newcomer):
    secret, _ = delegate.redeemer.invite("", 60.0)
    delegate.hear(authority.revoke("dele"))
    assert isinstance(refusal(redeem(delegate, secret, newcomer)), DeniedError)


def test_a_newcomers_certificate_ends_with_the_delegation(authority, peer, newcomer):
    alice = peer("alice")
    alice.hear(authority.delegate("alice", days=2)[0])
    secret, _ = alice.redeemer.invite("", 60.0)
    bundle = Bundle.decode(redeem(alice, secret, newcomer).bundle, "here")
    assert bundle.chain[0].not_valid_after_utc == bundle.chain[1].not_valid_after_utc


def test_after_a_change_of_the_ca_newcomers_get_the_new_one(authority, delegate, newcomer):
    rotation, last = authority.rotate_ca(), authority.finish_rotation()
    delegate.hear(*rotation.records, *last.records)
    state = delegate.state
    delegate.redeemer.renewed(
        state.renewed(
            delegate.roster.trust.authorities, delegate.roster.member(state.peer_id).certificate, None
        )
    )
    secret, _ = delegate.redeemer.invite("", 60.0)
    bundle = Bundle.decode(redeem(delegate, secret, newcomer).bundle, "here")
    assert bundle.authorities == authority.authorities
    roster = Roster("lab", Trust("lab", bundle.authorities), 10, newcomer.peer_id)
    assert all(roster.offer(record, time.time()) for record in bundle.records)


def test_of_a_large_network_a_newcomer_is_told_a_part(
    authority, delegate, newcomer, peer, tmp_path, monkeypatch
):
    for number in range(8):
        peer(f"peer{number}")
    delegate.hear(*authority.write_bundles()["dele"].records)
    whole = sum(len(record.encoded) for record in delegate.roster.records())
    monkeypatch.setattr(redeemer, "MAX_TOLD_BYTES", whole // 2)
    told = []
    for name in ("nora", "nils", "nina", "nele", "nick", "noel"):
        identity = newcomer if name == "nora" else Identity.create(tmp_path / name, name, "h:1")
        secret, _ = delegate.redeemer.invite("", 60.0)
        bundle = Bundle.decode(redeem(delegate, secret, identity).bundle, "here")
        assert sum(map(len, bundle.records)) < whole * 0.75
        names = {descriptor.name for descriptor in bundle.roster}
        assert {"dele", name} < names
        told.append(names - {name})
        roster = Roster("lab", Trust("lab", bundle.authorities), 20, identity.peer_id)
        assert all(roster.offer(record, time.time()) for record in bundle.records if peek(record))
    assert len(set(map(frozenset, told))) > 1  # drawn anew for each


def test_too_long_and_unlucky_wishes(delegate):
    with pytest.raises(InvalidInputError, match="allowed are"):
        delegate.redeemer.invite("No Name", 60.0)
    with pytest.raises(InvalidInputError, match="at most 30 days"):
        delegate.redeemer.invite("", 1e9)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
def test_no_request_crashes(delegate, data):
    outcome = delegate.redeemer.redeem(Ask(bytes(10), data))
    assert isinstance(refusal(outcome), InvalidInputError)


def test_the_certificate_is_for_the_newcomers_own_key(delegate, newcomer):
    secret, _ = delegate.redeemer.invite("", 60.0)
    bundle = Bundle.decode(redeem(delegate, secret, newcomer).bundle, "here")
    assert bundle.chain[0].public_key() == newcomer.link_public()
    assert certificates.member_of(bundle.chain[0]) == (newcomer.peer_id, "nora")
