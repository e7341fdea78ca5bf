from __future__ import annotations

import datetime
import json
import shutil
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from peerd.config import NetworkConfig
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError
from peerd.membership import Authority, Bundle, Identity, PeerState, certificates
from peerd.membership.recordfile import read_records
from peerd.membership.records import (
    Delegate,
    Kind,
    Member,
    NewAuthority,
    Revocation,
    certificate_record,
    operator_id,
    peek,
)
from peerd.membership.roster import Refused, Roster
from peerd.membership.trust import Trust
from peerd.store import StateLock
from peerd.types import PeerId

STRANGER = PeerId(bytes(16))


def roster_of(authorities, records=()) -> Roster:
    """What a peer that trusts these CAs makes of the records, none of which it may refuse."""
    roster = Roster("lab", Trust("lab", authorities), 100, STRANGER)
    for record in records:
        assert not isinstance(roster.offer(record, time.time()), Refused), record
    return roster


def net(tmp_path):
    return tmp_path / "net"


def enroll(authority, tmp_path, *names):
    for number, name in enumerate(names):
        authority.enroll_local(name, f"192.0.2.1:{9101 + number}", tmp_path / name)


def bundles(tmp_path):
    return sorted((tmp_path / "net" / "bundles").glob("*.bundle"))


# -- a network -------------------------------------------------------------------------------------


def test_a_new_network_comes_back_from_disk(authority, tmp_path):
    again = Authority.load(net(tmp_path))
    assert again.network == NetworkConfig(name="lab", body_bytes=4096)
    assert again.roster() == again.peers == again.revoked == again.operators == ()
    assert (net(tmp_path) / "ca.key").stat().st_mode & 0o777 == 0o600
    assert net(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_network_is_never_overwritten(authority, tmp_path):
    key = (net(tmp_path) / "ca.key").read_bytes()
    with pytest.raises(ConflictError, match="a network lies here already"):
        Authority.create(net(tmp_path), NetworkConfig(name="other"))
    assert (net(tmp_path) / "ca.key").read_bytes() == key


def test_a_folder_of_an_earlier_format_says_what_to_do(authority, tmp_path):
    (net(tmp_path) / "authority.json").unlink()
    (net(tmp_path) / "roster.json").write_text("[]")
    with pytest.raises(InvalidInputError, match=r"before 0\.1\.0.*peerctl network create"):
        Authority.load(net(tmp_path))


# -- signing in ------------------------------------------------------------------------------------


def test_enrolling_signs_a_peer_in(authority, identity, tmp_path):
    bundle = authority.enroll(identity.request())
    assert (bundle.peer_id, bundle.name) == (identity.peer_id, "alice")
    assert bundle.network == authority.network
    assert bundle.roster == authority.roster() == (identity.descriptor,)
    assert Bundle.load(net(tmp_path) / "bundles" / "alice.bundle") == bundle


def test_the_link_certificate_is_for_this_key_and_this_peer(authority, identity):
    (certificate,) = authority.enroll(identity.request()).chain
    assert certificate.public_key() == identity.link_public()
    assert certificates.member_of(certificate) == (identity.peer_id, "alice")
    assert certificates.is_issued_by(certificate, authority.authorities[0])
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc


def test_only_new_peers_get_a_bundle_and_know_all_before_them(authority, tmp_path):
    enroll(authority, tmp_path, "alice")
    alices = bundles(tmp_path)[0].read_bytes()
    names = ("bob", "carol")
    requests = [Identity.create(tmp_path / n, n, f"{n}:1").request() for n in names]
    made = authority.enroll_all([(request, name) for request, name in zip(requests, names, strict=True)])
    assert [bundle.name for bundle in made] == ["bob", "carol"]
    for bundle in made:
        assert [d.name for d in bundle.roster] == ["alice", "bob", "carol"]
    assert bundles(tmp_path)[0].read_bytes() == alices
    assert [d.name for d in Authority.load(net(tmp_path)).roster()] == ["alice", "bob", "carol"]


def test_a_peer_that_is_told_everything_accepts_everything(authority, tmp_path):
    enroll(authority, tmp_path, "alice", "bob", "carol", "dora")
    authority.delegate("bob")
    authority.revoke("carol")
    bundle = authority.write_bundles()["alice"]
    roster = roster_of(bundle.authorities, bundle.records)
    names = {member.name for peer in roster.members() if (member := roster.member(peer))}
    assert names == {"alice", "bob", "dora"}
    kinds = [record.kind for record in roster.records()]
    assert kinds == [Kind.DELEGATION, *3 * [Kind.CERTIFICATE], Kind.REVOCATION, *3 * [Kind.DESCRIPTOR]]


def test_all_or_none_are_enrolled(authority, identity, tmp_path):
    bob = Identity.create(tmp_path / "bob", "bob", "bob:1").request()
    twin = Identity.create(tmp_path / "twin", "bob", "bob:2").request()
    with pytest.raises(ConflictError, match="bob: a peer of this name is enrolled already"):
        authority.enroll_all([(identity.request(), "a"), (bob, "b"), (twin, "c")])
    assert authority.roster() == Authority.load(net(tmp_path)).roster() == ()
    assert bundles(tmp_path) == []


def test_a_name_twice_is_a_conflict(authority, identity, tmp_path):
    authority.enroll(identity.request())
    other = Identity.create(tmp_path / "x", "alice", "192.0.2.9:9101")
    for sign in (authority.enroll, authority.sign):
        with pytest.raises(ConflictError, match="alice: a peer of this name is enrolled already"):
            sign(other.request())
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
    return Identity.load(tmp_path / name)


def test_an_identity_twice_is_a_conflict(authority, identity, tmp_path):
    authority.enroll(identity.request())
    twin = rename(tmp_path, identity, "twin")
    for sign in (authority.enroll, authority.sign):
        with pytest.raises(ConflictError, match="enrolled already, as alice"):
            sign(twin.request())
    with pytest.raises(ConflictError, match="peerctl network sign"):
        authority.enroll(identity.request())


def test_enrolments_by_two_processes_do_not_forget_each_other(authority, tmp_path):
    other = Authority.load(net(tmp_path))
    authority.enroll_local("alice", "192.0.2.1:9101", tmp_path / "alice")
    other.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob")
    assert [d.name for d in Authority.load(net(tmp_path)).roster()] == ["alice", "bob"]
    with pytest.raises(ConflictError, match="alice"):
        other.enroll_local("alice", "192.0.2.1:9103", tmp_path / "again")


def test_an_enrolment_under_way_is_a_conflict(authority, identity, tmp_path):
    with StateLock(net(tmp_path)), pytest.raises(ConflictError, match="try again"):
        authority.enroll(identity.request())


# -- signing again ---------------------------------------------------------------------------------


def test_signing_signs_in_and_later_renews(authority, identity, tmp_path):
    first = authority.sign(identity.request())
    second = authority.sign(identity.request())
    assert [d.name for d in authority.roster()] == ["alice"]
    (old,), (new,) = first.chain, second.chain
    assert peek(certificate_record(new))[1] > peek(certificate_record(old))[1]
    roster = roster_of(first.authorities, first.records)
    roster.offer(certificate_record(new), time.time())
    assert roster.member(identity.peer_id).certificate == new


def test_a_new_link_key_gets_a_certificate_unless_it_is_a_delegates(authority, identity, tmp_path):
    authority.sign(identity.request())
    path = tmp_path / "alice" / "identity.json"
    keys = json.loads(path.read_bytes())
    other = json.loads((_other(tmp_path) / "identity.json").read_bytes())
    path.write_text(json.dumps(keys | {"link": other["link"]}))
    changed = Identity.load(tmp_path / "alice")
    bundle = authority.sign(changed.request())
    assert bundle.chain[0].public_key() == changed.link_public() != identity.link_public()
    authority.delegate("alice")
    with pytest.raises(ConflictError, match="cannot change"):
        authority.sign(identity.request())
    assert authority.sign(changed.request()).delegation is not None


def _other(tmp_path):
    Identity.create(tmp_path / "other", "other", "h:1")
    return tmp_path / "other"


# -- delegates -------------------------------------------------------------------------------------


def test_a_delegate_may_sign_in_others_for_a_time(authority, identity, tmp_path):
    authority.enroll(identity.request())
    record, bundle = authority.delegate("alice", days=7)
    assert bundle.delegation is not None
    bundle.install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert state.is_delegate
    assert state.delegation.public_key() == identity.link_public()
    left = state.delegation.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert 6.9 < left.total_seconds() / 86_400 <= 7.0
    taken = roster_of(authority.authorities).offer(record, time.time())
    assert taken.body == Delegate(identity.peer_id, state.delegation)


def test_a_delegation_is_renewed_at_once(authority, identity):
    authority.enroll(identity.request())
    first, _ = authority.delegate("alice")
    second, _ = authority.delegate("alice")
    roster = roster_of(authority.authorities, [first, second])
    assert roster.get(peek(first)[0]).encoded == second


def test_who_is_not_enrolled_is_no_delegate(authority):
    with pytest.raises(NotFoundError, match="nobody: no peer of this name"):
        authority.delegate("nobody")


# -- revocation ------------------------------------------------------------------------------------


def test_revoking_takes_a_peer_out_for_good(authority, identity, tmp_path):
    enroll(authority, tmp_path, "bob")
    bundle = authority.enroll(identity.request())
    roster = roster_of(bundle.authorities, bundle.records)
    record = authority.revoke("alice")
    taken = roster.offer(record, time.time())
    assert isinstance(taken.body, Revocation)
    assert (taken.body.id, taken.body.name) == (identity.peer_id, "alice")
    assert roster.is_revoked(identity.peer_id)
    assert roster.member(identity.peer_id) is None
    again = Authority.load(net(tmp_path))
    assert [d.name for d in again.roster()] == ["bob"]
    assert [(r.kind, r.name, r.id) for r in again.revoked] == [("peer", "alice", identity.peer_id)]
    assert [path.stem for path in bundles(tmp_path)] == ["bob"]
    for sign in (authority.enroll, authority.sign):
        with pytest.raises(DeniedError, match="was revoked, for good"):
            sign(identity.request())


def test_asked_again_it_gives_the_same_record(authority, identity):
    authority.enroll(identity.request())
    record = authority.revoke("alice")
    assert authority.revoke("alice") == authority.revoke(identity.peer_id.hex()) == record


def test_the_name_is_free_again_and_revoking_it_means_its_new_owner(authority, identity, tmp_path):
    authority.enroll(identity.request())
    first = authority.revoke("alice")
    new = Identity.create(tmp_path / "new", "alice", "192.0.2.7:1")
    authority.enroll(new.request())
    second = authority.revoke("alice")
    assert first != second
    assert [r.id for r in authority.revoked] == [identity.peer_id, new.peer_id]


def test_a_peer_that_a_delegate_has_signed_in_is_revoked_by_its_id(authority):
    record = authority.revoke("ab" * 16)
    taken = roster_of(authority.authorities).offer(record, time.time())
    assert (taken.body.id, taken.body.name) == (bytes.fromhex("ab" * 16), "")


def test_a_name_that_nobody_has_cannot_be_revoked(authority):
    with pytest.raises(NotFoundError, match="by its id"):
        authority.revoke("nobody")
    with pytest.raises(NotFoundError, match="nobody: no operator"):
        authority.revoke_operator("nobody")


# -- operators -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_an_operators_certificate_carries_the_role(authority, tmp_path, role):
    path = authority.operator("ops", role, tmp_path / "out")
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert certificates.operator_of(certificate) == (role, "ops")
    ca = x509.load_pem_x509_certificate((tmp_path / "out" / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert (tmp_path / "out" / "ops.key").stat().st_mode & 0o777 == 0o600
    assert [(o.name, o.role) for o in Authority.load(net(tmp_path)).operators] == [("ops", role)]
    with pytest.raises(ConflictError, match="exists already"):
        authority.operator("ops", role, tmp_path / "out")


def test_an_operator_is_revoked_with_all_certificates_of_that_name(authority, tmp_path):
    paths = [authority.operator("ops", "admin", tmp_path / folder) for folder in ("a", "b")]
    authority.operator("eve", "viewer", tmp_path / "c")
    records = authority.revoke_operator("ops")
    roster = roster_of(authority.authorities, records)
    for path in paths:
        assert roster.is_revoked(operator_id(x509.load_pem_x509_certificate(path.read_bytes()).public_key()))
    assert authority.revoke_operator("ops") == records
    assert [o.name for o in authority.operators] == ["eve"]


# -- another key -----------------------------------------------------------------------------------


@pytest.fixture
def old(authority, tmp_path):
    """A network with a bit of everything, and what a peer knows of it."""
    enroll(authority, tmp_path, "alice", "bob", "carol")
    authority.delegate("bob", days=30)
    authority.revoke("carol")
    authority.operator("ops", "admin", tmp_path / "ops")
    bundle = authority.write_bundles()["alice"]
    bundle.install(tmp_path / "alice")
    return bundle


def test_a_new_ca_comes_in_beside_the_old_one(authority, old, tmp_path):
    rotation = authority.rotate_ca()
    assert authority.authorities[1:] == old.authorities
    roster = roster_of(old.authorities, old.records)
    before = {peer: roster.member(peer).certificate for peer in roster.members()}
    for record in rotation.records:
        assert not isinstance(roster.offer(record, time.time()), Refused | None)
    assert set(roster.trust.authorities) == set(authority.authorities)
    for peer, certificate in before.items():
        new = roster.member(peer).certificate
        assert new.public_key() == certificate.public_key()
        assert certificates.is_issued_by(new, authority.authorities[0])
    bob = authority.peers[1]
    assert certificates.is_issued_by(roster.delegate(bob.peer_id).certificate, authority.authorities[0])
    assert rotation.operators == ("ops",)
    assert {bundle.name for bundle in rotation.bundles} == {"alice", "bob"}


def test_then_the_old_one_is_retired_and_nothing_is_lost(authority, old, tmp_path):
    roster = roster_of(old.authorities, old.records)
    first, last = authority.rotate_ca(), authority.finish_rotation()
    (retirement,) = last.records
    for record in (*first.records, retirement):
        assert not isinstance(roster.offer(record, time.time()), Refused)
    assert roster.trust.authorities == authority.authorities == (authority.authorities[0],)
    assert len(roster.members()) == 2
    assert len([record for record in roster.records() if record.kind is Kind.REVOCATION]) == 1
    assert len([record for record in roster.records() if record.kind is Kind.DELEGATION]) == 1
    assert authority.operators == ()
    keys = (net(tmp_path) / "ca.key").read_bytes()
    assert keys.count(b"BEGIN PRIVATE KEY") == 1
    key = serialization.load_pem_private_key(keys, None)
    assert key.public_key() == authority.authorities[0].public_key()


def test_a_newcomer_after_it_all_accepts_what_its_bundle_tells(authority, old, tmp_path):
    for _ in range(2):
        authority.rotate_ca()
        authority.finish_rotation()
    authority.enroll_local("dora", "192.0.2.1:9109", tmp_path / "dora").install(tmp_path / "dora")
    state = PeerState.load(tmp_path / "dora")
    roster = roster_of(state.authorities, state.records)
    assert len(roster.members()) == 3
    assert [d.name for d in state.roster] == ["alice", "bob", "dora"]


def test_a_peer_that_was_away_catches_up_by_its_bundle(authority, old, tmp_path):
    for _ in range(2):
        authority.rotate_ca()
        authority.finish_rotation()
    Bundle.load(net(tmp_path) / "bundles" / "alice.bundle").install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    assert state.authorities == authority.authorities
    assert len(roster_of(state.authorities, state.records).members()) == 2


def test_each_step_twice_is_the_same_step(authority, old):
    first = authority.rotate_ca()
    assert authority.rotate_ca().records == first.records
    last = authority.finish_rotation()
    assert authority.finish_rotation().records == last.records
    (retirement,) = last.records
    taken = roster_of(old.authorities, (*old.records, *first.records)).offer(retirement, time.time())
    assert isinstance(taken.body, NewAuthority)
    assert taken.body.retires_earlier


def test_finishing_what_was_not_begun_is_a_conflict(authority):
    with pytest.raises(ConflictError, match="no change of the CA is under way"):
        authority.finish_rotation()


def test_in_between_the_new_ca_signs(authority, old, identity_of_dora):
    authority.rotate_ca()
    bundle = authority.enroll(identity_of_dora.request())
    assert certificates.is_issued_by(bundle.chain[0], authority.authorities[0])
    assert set(bundle.authorities) == set(authority.authorities)
    assert isinstance(roster_of(bundle.authorities, bundle.records).member(identity_of_dora.peer_id), Member)


@pytest.fixture
def identity_of_dora(tmp_path) -> Identity:
    return Identity.create(tmp_path / "dora", "dora", "192.0.2.1:9109")


WORKS = {
    "enroll": lambda authority, request: authority.enroll(request),
    "sign": lambda authority, request: authority.sign(request),
    "delegate": lambda authority, _: authority.delegate("alice"),
    "revoke": lambda authority, _: authority.revoke("bob"),
    "revoke operator": lambda authority, _: authority.revoke_operator("ops"),
    "begin": lambda authority, _: authority.rotate_ca(),
    "finish": lambda authority, _: authority.finish_rotation(),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_crash_at_any_moment_leaves_a_usable_folder(
    authority, old, identity_of_dora, tmp_path, monkeypatch, name
):
    """As if the process had ended before the n-th file of a command was in its place, for every n."""
    if name == "finish":
        authority.rotate_ca()
    request, replace = identity_of_dora.request(), Path.replace
    for number in range(20):
        folder = tmp_path / f"crashed-{number}"
        shutil.copytree(net(tmp_path), folder)
        left = number

        def crash(source, target):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", crash)
            try:
                WORKS[name](Authority.load(folder), request)
            except KeyboardInterrupt:
                completed = False
            else:
                completed = True
        usable(folder, name, request, tmp_path)
        if completed:
            break
    assert completed
    assert number >= 1


def usable(folder, name, request, tmp_path):
    again = Authority.load(folder)
    if name == "enroll" and len(again.peers) == 3:
        again.sign(request)  # as the error of a second enrolment says
    else:
        WORKS[name](again, request)
    bundle = again.write_bundles()["alice"]
    state_dir = folder / "alice"
    shutil.copytree(tmp_path / "alice", state_dir)
    bundle.install(state_dir)
    state = PeerState.load(state_dir)
    assert state.authorities == again.authorities
    assert certificates.is_issued_by(state.certificate, again.authorities[0])
    roster = roster_of(state.authorities, state.records)
    assert sorted(roster.members()) == sorted(peer.peer_id for peer in again.peers)
    assert not list(folder.glob(".*"))


# -- files -----------------------------------------------------------------------------------------


def test_records_are_written_to_be_published(authority, identity, tmp_path):
    authority.enroll(identity.request())
    record = authority.revoke("alice")
    path = authority.write_records("revoke-alice", [record])
    assert path == net(tmp_path) / "records" / "revoke-alice.record"
    assert read_records(path) == [record]


def test_a_full_disk_is_one_clear_line(authority, identity, tmp_path):
    (net(tmp_path) / "bundles").write_bytes(b"")  # where a folder must come
    with pytest.raises(InvalidInputError, match="cannot be written"):
        authority.enroll(identity.request())
    (net(tmp_path) / "bundles").unlink()
    authority.sign(identity.request())  # as the error of a second enrolment says
    assert [path.stem for path in bundles(tmp_path)] == ["alice"]


@pytest.mark.parametrize("name", ["network.json", "authority.json", "ca.key"])
def test_a_missing_or_broken_file_is_one_clear_line(authority, tmp_path, name):
    path = net(tmp_path) / name
    path.write_bytes(b"-----BEGIN NONSENSE-----")
    with pytest.raises(InvalidInputError) as error:
        Authority.load(net(tmp_path))
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(NotFoundError, match="peerctl network create"):
        Authority.load(net(tmp_path))


def test_a_key_of_another_ca_is_denied(authority, tmp_path):
    Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    (net(tmp_path) / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(DeniedError, match="bad CA"):
        Authority.load(net(tmp_path))


def test_a_key_that_is_none_is_not_quoted(authority, tmp_path):
    path = net(tmp_path) / "ca.key"
    secret = path.read_bytes()
    path.write_bytes(secret.replace(secret[60:64], b"!!!!"))
    with pytest.raises(InvalidInputError, match=r"ca\.key is broken") as error:
        Authority.load(net(tmp_path))
    assert secret[40:60].decode() not in str(error.value)


def test_a_tampered_ledger_is_refused(authority, identity, tmp_path):
    authority.enroll(identity.request())
    path = net(tmp_path) / "authority.json"
    entries = json.loads(path.read_bytes())
    entries["peers"][0]["descriptor"] = entries["peers"][0]["descriptor"][:-8] + "AAAAAAA="
    path.write_text(json.dumps(entries))
    with pytest.raises(InvalidInputError, match=r"authority\.json: broken file: a descriptor is broken"):
        Authority.load(net(tmp_path))


@pytest.mark.parametrize("name", ["network.json", "authority.json"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x80", b'{"\x80": 1}', b'[{"descriptor": "\x80"}]', b"[7]", b"[" * 100_000]
)
def test_no_bytes_in_a_file_are_more_than_one_clear_line(authority, tmp_path, name, content):
    """msgspec has an exception of another kind for what is not UTF-8."""
    (net(tmp_path) / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name) as error:
        Authority.load(net(tmp_path))
    assert "\n" not in str(error.value)
