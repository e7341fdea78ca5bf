from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import certificates
from peerd.membership.records import (
    BY_AUTHORITY,
    MAX_RECORD_BYTES,
    Kind,
    Record,
    authority_id,
    descriptor_record,
    join_records,
    key_of,
    operator_id,
    peek,
)
from peerd.membership.roster import MAX_AUTHORITIES, MAX_RUNS, Admitted, Refused
from peerd.membership.verify import AHEAD_SECONDS
from peerd.pb import gossip_pb2
from peerd.types import DropReason, RunSpec

DAY = 86_400.0
BAD, FULL = DropReason.BAD_GOSSIP, DropReason.GOSSIP_FULL
REVOKED, UNKNOWN = DropReason.REVOKED_PEER, DropReason.UNKNOWN_PEER


def fill(roster, wall, *records):
    """All of them must be taken in."""
    for encoded in records:
        outcome = roster.offer(encoded, wall)
        assert isinstance(outcome, Record), outcome
    return roster


def everything(roster):
    return {record.key: (record.version, record.encoded) for record in roster.records()}


@pytest.fixture
def roster(lab):
    return lab.roster()


@pytest.fixture
def pair(lab, roster):
    """Oneself and a peer are enrolled and have described themselves."""
    records = [make(number) for number in (0, 1) for make in (lab.certificate, lab.descriptor)]
    return fill(roster, lab.wall, *records)


def reason(outcome):
    assert isinstance(outcome, Refused)
    return outcome.reason


# -- members and their descriptors --------------------------------------------------------------------


def test_a_member_and_its_descriptor(lab, roster):
    peer = lab.peer(1)
    assert (roster.members(), roster.member(peer.id), roster.descriptor(peer.id)) == ((), None, None)
    record = roster.offer(lab.certificate(1), lab.wall)
    assert (record.kind, record.key) == (Kind.CERTIFICATE, key_of(Kind.CERTIFICATE, peer.id))
    assert roster.member(peer.id) == record.body
    assert (record.body.peer_id, record.body.name, record.body.issuer) == (peer.id, "peer1", None)
    assert roster.members() == (peer.id,)
    described = lab.describe(1, leaving=True)
    record = roster.offer(descriptor_record(described), lab.wall)
    assert (record.version, record.body) == (described.version, described)
    assert roster.descriptor(peer.id) == described
    assert [record.kind for record in roster.records()] == [Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert len(roster) == 2


def test_what_is_known_or_older_costs_no_signature(lab, pair):
    renewed = lab.certificate(1, instead_of=lab.link(1))
    fill(pair, lab.wall, lab.descriptor(1, version=5), renewed)
    before, spent = everything(pair), pair.verifier.signatures
    for encoded in (
        lab.descriptor(1, version=5),
        lab.descriptor(1, version=4, leaving=True),
        lab.certificate(1),
        renewed,
    ):
        assert pair.offer(encoded, lab.wall) is None
    assert everything(pair) == before
    assert pair.verifier.signatures == spent


def test_of_two_of_one_version_the_first_stays(lab, pair):
    assert pair.offer(lab.descriptor(1, leaving=True), lab.wall) is None
    assert not pair.descriptor(lab.peer(1).id).leaving


def test_a_descriptor_needs_a_certificate(lab, pair):
    outcome = pair.offer(lab.descriptor(2), lab.wall)
    assert outcome == Refused(
        UNKNOWN, outcome.why, waits_for=key_of(Kind.CERTIFICATE, lab.peer(2).id)
    )
    fill(pair, lab.wall, lab.certificate(2), lab.descriptor(2))


def test_a_descriptor_has_the_name_of_its_certificate(lab, pair):
    spent = pair.verifier.signatures
    assert reason(pair.offer(lab.descriptor(1, version=1, name="mallory"), lab.wall)) is BAD
    assert pair.verifier.signatures == spent


def test_a_new_name_ends_the_descriptor_of_the_old_one(lab, pair):
    outcome = pair.admit(lab.certificate(1, name="bob", instead_of=lab.link(1)), lab.wall)
    assert isinstance(outcome, Admitted)
    assert outcome.previous.body.name == "peer1"
    assert [record.kind for record in outcome.dropped] == [Kind.DESCRIPTOR]
    assert pair.descriptor(lab.peer(1).id) is None
    fill(pair, lab.wall, lab.descriptor(1, name="bob"))


@pytest.mark.parametrize("ahead", [AHEAD_SECONDS - 10, AHEAD_SECONDS + 10])
def test_descriptors_from_the_future(lab, pair, ahead):
    outcome = pair.offer(lab.descriptor(1, version=int(ahead)), lab.wall)
    if ahead < AHEAD_SECONDS:
        assert isinstance(outcome, Record)
    else:
        assert (outcome.reason, outcome.hostile) == (BAD, False)


def test_forged_descriptors(lab, pair):
    good = gossip_pb2.Record.FromString(lab.descriptor(1, version=9))
    good.descriptor.signature = bytes(64)
    outcome = pair.offer(good.SerializeToString(deterministic=True), lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)


def test_certificates_of_others_and_forged_ones(lab, make_lab, pair):
    other = make_lab()
    outcome = pair.offer(other.certificate(2), lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)
    assert pair.member(lab.peer(2).id) is None


@pytest.mark.parametrize(("days", "good"), [(9.9, True), (10.1, False), (-1, False)])
def test_a_certificate_has_its_time(lab, roster, days, good):
    outcome = roster.offer(lab.certificate(1, days=10), lab.wall + days * DAY)
    assert isinstance(outcome, Record) == good
    if not good:
        assert (outcome.reason, outcome.hostile) == (BAD, False)


def test_what_is_over_goes_and_its_descriptor_with_it(lab, roster):
    fill(roster, lab.wall, lab.certificate(1, days=10), lab.descriptor(1), lab.certificate(2, days=20))
    assert roster.expire(lab.wall + 9 * DAY) == []
    assert roster.expire(0.0) == []  # a clock set back ends nothing
    gone = roster.expire(lab.wall + 11 * DAY)
    assert [record.kind for record in gone] == [Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert roster.members() == (lab.peer(2).id,)
    assert reason(roster.offer(lab.descriptor(1, version=7), lab.wall)) is UNKNOWN


def test_there_is_room_for_so_many(lab):
    roster = lab.roster(max_members=3)
    fill(roster, lab.wall, *(lab.certificate(number) for number in (1, 2, 3)))
    spent = roster.verifier.signatures
    assert reason(roster.offer(lab.certificate(4), lab.wall)) is FULL
    assert reason(roster.offer(lab.descriptor(4), lab.wall)) is UNKNOWN
    assert roster.verifier.signatures == spent
    fill(roster, lab.wall, lab.certificate(1, instead_of=lab.link(1)))  # known ones may be renewed
    fill(roster, lab.wall, lab.certificate(0), lab.descriptor(0))  # there is always room for oneself
    assert roster.members() == tuple(sorted(lab.peer(number).id for number in range(4)))


# -- delegates ----------------------------------------------------------------------------------------


def test_a_delegate_signs_somebody_in(lab, roster):
    delegate = lab.delegate(1)
    newcomer = lab.certificate(2, delegate)
    outcome = roster.offer(newcomer, lab.wall)
    assert outcome == Refused(
        UNKNOWN, outcome.why, waits_for=key_of(Kind.DELEGATION, lab.peer(1).id)
    )
    fill(roster, lab.wall, lab.delegation(1), newcomer, lab.descriptor(2))
    assert roster.member(lab.peer(2).id).issuer == lab.peer(1).id
    assert roster.delegate(lab.peer(1).id).certificate is not None


def test_a_delegation_is_issued_by_the_ca(lab, make_lab, roster):
    assert reason(roster.offer(make_lab().delegation(1), lab.wall)) is BAD
    fill(roster, lab.wall, lab.delegation(1))
    second = lab.delegation(2, issuer=lab.delegate(1))
    assert reason(roster.offer(second, lab.wall)) is BAD


def test_a_delegate_is_bound_to_its_dates(lab, roster):
    fill(roster, lab.wall, lab.delegation(1, days=5))
    newcomer = lab.certificate(2, lab.delegate(1, days=100))
    outcome = roster.offer(newcomer, lab.wall + 6 * DAY)
    assert (outcome.reason, outcome.hostile) == (BAD, False)
    fill(roster, lab.wall, newcomer, lab.descriptor(2))
    gone = roster.expire(lab.wall + 6 * DAY)
    assert [record.kind for record in gone] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]


def test_what_a_delegate_has_not_signed_itself(lab, roster):
    fill(roster, lab.wall, lab.delegation(1))
    _, certificate = lab.delegate(1)
    forged = lab.certificate(2, (lab.peer(3).link, certificate))
    outcome = roster.offer(forged, lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)


def test_a_delegate_cannot_displace_whom_the_ca_has_enrolled(lab, pair):
    """Whatever the dates, and in whatever order they come."""
    fill(pair, lab.wall, lab.delegation(2))
    stolen = lab.certificate(1, lab.delegate(2), name="mallory", instead_of=lab.link(1))
    assert pair.offer(stolen, lab.wall) is None
    assert pair.member(lab.peer(1).id).name == "peer1"
    other = fill(lab.roster(), lab.wall, lab.delegation(2), stolen, lab.certificate(1))
    assert other.member(lab.peer(1).id).name == "peer1"


def test_another_key_of_a_delegate_ends_what_the_earlier_has_issued(lab, roster):
    fill(roster, lab.wall, lab.delegation(1), lab.certificate(2, lab.delegate(1)))
    peer, other_key = lab.peer(1), certificates.new_key()
    renewed = gossip_pb2.Record(
        delegation=certificates.der(
            certificates.delegate_certificate(peer.id, peer.name, other_key.public_key(), lab.ca, lab.key)
        )
    ).SerializeToString()
    _, version = peek(lab.delegation(1))
    if peek(renewed)[1] <= version:  # made within one second: which replaces which is of no matter here
        roster._shelf.pop(key_of(Kind.DELEGATION, peer.id))
        fill(roster, lab.wall, renewed)
        return
    outcome = roster.admit(renewed, lab.wall)
    assert [record.id for record in outcome.dropped] == [lab.peer(2).id]


# -- revocation ---------------------------------------------------------------------------------------


def test_revoked_is_for_good(lab, pair):
    peer = lab.peer(1).id
    outcome = pair.admit(lab.revocation(1), lab.wall)
    assert [record.kind for record in outcome.dropped] == [Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert (pair.is_revoked(peer), pair.member(peer), pair.descriptor(peer)) == (True, None, None)
    assert pair.members() == (lab.peer(0).id,)
    spent = pair.verifier.signatures
    again = [
        lab.certificate(1),
        lab.certificate(1, instead_of=lab.link(1)),
        lab.descriptor(1, version=99),
        lab.delegation(1),
    ]
    for encoded in again:
        assert reason(pair.offer(encoded, lab.wall)) is REVOKED
        assert not pair.lacks(*peek(encoded))
    assert pair.verifier.signatures == spent
    assert pair.expire(lab.wall + 9000 * DAY) != []
    assert pair.is_revoked(peer)


def test_who_is_not_known_can_be_revoked(lab, roster):
    fill(roster, lab.wall, lab.revocation(7))
    assert reason(roster.offer(lab.certificate(7), lab.wall)) is REVOKED


def test_with_a_delegate_goes_whom_it_has_signed_in(lab, pair):
    delegate = lab.delegate(1)
    fill(pair, lab.wall, lab.delegation(1), lab.certificate(2, delegate), lab.descriptor(2))
    outcome = pair.admit(lab.revocation(1), lab.wall)
    gone = [(record.kind, record.id) for record in outcome.dropped]
    one, two = lab.peer(1).id, lab.peer(2).id
    assert sorted(gone) == sorted(
        [(Kind.DELEGATION, one), (Kind.CERTIFICATE, one), (Kind.DESCRIPTOR, one)]
        + [(Kind.CERTIFICATE, two), (Kind.DESCRIPTOR, two)]
    )
    assert reason(pair.offer(lab.certificate(2, delegate), lab.wall)) is REVOKED
    assert reason(pair.offer(lab.certificate(3, delegate), lab.wall)) is REVOKED
    assert not pair.is_revoked(two)
    fill(pair, lab.wall, lab.certificate(2), lab.descriptor(2, version=1))  # the CA itself may enrol them


def test_only_the_authority_revokes(lab, make_lab, pair):
    for forged in (
        lab.revocation(1, key=lab.peer(0).link),
        lab.revocation(1, key=lab.peer(1).link),
        make_lab("other").revocation(1),
        make_lab("other").revocation(1, key=lab.key),  # good for another network of the same key
    ):
        outcome = pair.offer(forged, lab.wall)
        assert (outcome.reason, outcome.hostile) == (BAD, True)
    assert reason(pair.offer(lab.revocation(1, age=-AHEAD_SECONDS - 9), lab.wall)) is BAD
    assert not pair.is_revoked(lab.peer(1).id)


def test_the_disk_remembers_who_is_revoked(lab, pair):
    fill(pair, lab.wall, lab.revocation(1))
    other = lab.roster()
    assert other.load(pair.dump(), lab.wall) == []
    assert other.is_revoked(lab.peer(1).id)


def test_with_whom_to_have_a_link(lab, pair):
    one, two = lab.peer(1).id, lab.peer(2).id
    leaf, by_delegate = lab.link(1), lab.link(2, lab.delegate(3))
    for known, shown in ((one, leaf), (two, by_delegate)):
        assert pair.allows(known, lab.wall)
        assert pair.allows(known, lab.wall, certificates.der(shown))
    assert not pair.allows(two, lab.wall, b"no certificate")
    assert not pair.allows(one, lab.wall + 9000 * DAY)
    # A delegate cannot speak for whom the CA has enrolled.
    assert not pair.allows(one, lab.wall, certificates.der(lab.link(1, lab.delegate(3))))
    fill(pair, lab.wall, lab.revocation(1), lab.revocation(3))
    assert not pair.allows(one, lab.wall)
    assert not pair.allows(one, lab.wall, certificates.der(leaf))
    assert pair.allows(two, lab.wall)
    # TLS takes anybody whom a revoked delegate makes up.
    assert not pair.allows(two, lab.wall, certificates.der(by_delegate))


# -- runs ---------------------------------------------------------------------------------------------


def test_a_run_is_announced_and_ended(lab, roster):
    record = roster.offer(lab.run(1, age=10), lab.wall)
    notice = record.body
    assert (notice.spec.run_id, notice.stopped, notice.join_seconds) == (f"{1:032x}", False, 30.0)
    assert notice.issued_at == pytest.approx(lab.wall - 10, abs=0.001)
    assert notice.operator == "olga"
    fill(roster, lab.wall, lab.run(2, age=8), lab.run(1, age=5, stopped=True))
    assert [(run.spec.run_id[-1], run.stopped) for run in roster.runs()] == [("1", True), ("2", False)]
    assert roster.offer(lab.run(1, age=10), lab.wall) is None


def test_who_may_not_announce(lab, make_lab, roster):
    stranger = make_lab()
    other_key = certificates.new_key()
    by_delegate = lab.operator(issuer=lab.delegate(1))
    fill(roster, lab.wall, lab.delegation(1))
    for forged in (
        lab.run(1, operator_cert=lab.operator("viewer")),
        lab.run(1, operator_cert=lab.link(0), operator_key=lab.peer(0).link),
        lab.run(1, operator_cert=by_delegate),
        lab.run(1, operator_key=other_key),
        lab.run(1, network="other"),
        lab.run(1, join_seconds=-1.0),
        lab.run(1, join_seconds=float("nan")),
        stranger.run(1),
    ):
        outcome = roster.offer(forged, lab.wall)
        assert (outcome.reason, outcome.hostile) == (BAD, True)
    for untimely in (
        lab.run(1, age=-AHEAD_SECONDS - 90),
        lab.run(1, operator_cert=lab.operator(days=0.0)),
    ):
        outcome = roster.offer(untimely, lab.wall + 60)
        assert (outcome.reason, outcome.hostile) == (BAD, False)
    assert roster.runs() == []


def test_a_spec_that_is_none(lab, roster):
    broken = gossip_pb2.Record.FromString(lab.run(1))
    body = gossip_pb2.RunNotice.FromString(broken.run.run)
    body.spec = body.spec + b"\x20\x00"  # rounds: 0
    broken.run.run = body.SerializeToString(deterministic=True)
    assert reason(roster.offer(broken.SerializeToString(deterministic=True), lab.wall)) is BAD


def test_a_revoked_operator_has_announced_nothing(lab, roster):
    fill(roster, lab.wall, lab.run(1), lab.run(2))
    who = operator_id(lab.operator_key.public_key())
    outcome = roster.admit(lab.revocation(who), lab.wall)
    assert [record.kind for record in outcome.dropped] == [Kind.RUN, Kind.RUN]
    assert reason(roster.offer(lab.run(1), lab.wall)) is REVOKED
    assert reason(roster.offer(lab.run(3, operator_cert=lab.operator()), lab.wall)) is REVOKED


@given(st.permutations(range(12)))
def test_the_newest_runs_are_kept_in_whatever_order_they_come(lab, twelve_runs, order):
    roster = lab.roster()
    for number in order:
        roster.offer(twelve_runs[number], lab.wall)
    assert [int(run.spec.run_id, 16) for run in roster.runs()] == list(range(1, MAX_RUNS + 1))
    for number, encoded in enumerate(twelve_runs):
        assert roster.offer(encoded, lab.wall) is None if number < MAX_RUNS else True
        assert not roster.lacks(*peek(encoded))


@pytest.fixture(scope="module")
def twelve_runs(lab):
    return [lab.run(number, age=number * 10.0) for number in range(1, 13)]


def test_a_run_that_was_stopped_does_not_come_back(lab, roster, twelve_runs):
    """Somebody who was away brings the announcement again, long after the end of the run."""
    first = lab.run(77, age=500.0)
    fill(roster, lab.wall, first, lab.run(77, age=400.0, stopped=True), *reversed(twelve_runs))
    assert roster.expire(lab.wall + 3 * DAY) == []
    assert 77 not in [int(run.spec.run_id, 16) for run in roster.runs()]
    assert reason(roster.offer(first, lab.wall)) is FULL


def test_an_operators_certificate_that_is_over_ends_its_notices(lab, roster):
    fill(roster, lab.wall, lab.run(1, operator_cert=lab.operator(days=2)), lab.run(2))
    assert len(roster.expire(lab.wall + 3 * DAY)) == 1
    assert len(roster.runs()) == 1


# -- the authority's keys -----------------------------------------------------------------------------


def test_the_authority_changes_its_key(lab, pair):
    """Two steps; in the end all hangs on the new key, and only what was issued anew is left."""
    key, ca = lab.new_ca()
    fill(pair, lab.wall, lab.delegation(1), lab.certificate(2), lab.descriptor(2), lab.run(1), lab.revocation(9))
    fill(pair, lab.wall, lab.authority(ca, age=20))
    assert pair.trust.authorities == (lab.ca, ca)
    reissued = lab.certificate(1, (key, ca), instead_of=lab.link(1))
    fill(pair, lab.wall, reissued, lab.certificate(0, (key, ca), instead_of=lab.link(0)))
    outcome = pair.admit(lab.authority(ca, age=10, retires=True, key=key), lab.wall)
    assert pair.trust.authorities == (ca,)
    kinds = sorted(record.kind for record in outcome.dropped)
    assert kinds == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.REVOCATION, Kind.DESCRIPTOR, Kind.RUN]
    assert pair.members() == tuple(sorted(lab.peer(number).id for number in (0, 1)))
    assert pair.descriptor(lab.peer(1).id) is not None
    for of_the_old_key in (lab.certificate(2), lab.revocation(5), lab.delegation(1), lab.run(1)):
        assert reason(pair.offer(of_the_old_key, lab.wall)) is BAD
    fill(pair, lab.wall, lab.revocation(9, key=key))  # the authority signs them anew


def test_revocations_may_be_signed_anew_before(lab, pair):
    key, ca = lab.new_ca()
    fill(pair, lab.wall, lab.revocation(9, age=50), lab.authority(ca, age=20), lab.revocation(9, age=15, key=key))
    fill(pair, lab.wall, lab.authority(ca, age=10, retires=True, key=key))
    assert pair.is_revoked(lab.peer(9).id)


def test_forged_changes_of_the_key(lab, make_lab, pair):
    key, ca = lab.new_ca()
    leaf = lab.link(1)
    for forged in (
        lab.authority(ca, key=key),  # by itself
        lab.authority(ca, key=lab.peer(1).link),
        lab.authority(leaf),
        lab.authority(lab.delegate(1)[1]),
        make_lab("other").authority(ca, key=lab.key),
    ):
        outcome = pair.offer(forged, lab.wall)
        assert (outcome.reason, outcome.hostile) == (BAD, True)
    early = pair.offer(lab.authority(ca, retires=True, key=key), lab.wall)
    assert early == Refused(UNKNOWN, early.why, waits_for=key_of(Kind.AUTHORITY, authority_id(ca)))
    assert reason(pair.offer(lab.authority(ca, age=-AHEAD_SECONDS - 9), lab.wall)) is BAD
    fill(pair, lab.wall, lab.authority(ca, age=20))
    assert reason(pair.offer(lab.authority(ca, age=10, retires=True), lab.wall)) is BAD  # by the old one
    assert pair.trust.authorities == (lab.ca, ca)


def test_who_starts_with_the_new_key_has_no_use_for_how_it_came(lab):
    key, ca = lab.new_ca()
    first, second = lab.authority(ca, age=20), lab.authority(ca, age=10, retires=True, key=key)
    roster = lab.roster(trust=lab.trust(ca))
    assert roster.offer(first, lab.wall) is None
    fill(roster, lab.wall, second)
    other = fill(lab.roster(), lab.wall, first, second)
    assert everything(other) == everything(roster)
    assert roster.offer(first, lab.wall) is None
    assert not roster.lacks(*peek(first))


def test_a_leaked_key_cannot_leave_a_backdoor(lab, pair):
    """Whoever has the old key brings in one of their own, dated ahead, just before the old one is retired."""
    key, ca = lab.new_ca()
    leaked_key, backdoor = lab.new_ca()
    fill(pair, lab.wall, lab.authority(ca, age=20), lab.authority(backdoor, age=-3600.0))
    hidden = lab.certificate(5, (leaked_key, backdoor))
    fill(pair, lab.wall, hidden)
    outcome = pair.admit(lab.authority(ca, age=10, retires=True, key=key), lab.wall)
    assert pair.trust.authorities == (ca,)
    assert lab.peer(5).id in [record.id for record in outcome.dropped]
    for again in (lab.authority(backdoor, age=-3600.0), hidden):
        assert reason(pair.offer(again, lab.wall)) is BAD


def test_the_disk_leads_through_all_changes_of_the_key(lab):
    """From the CA of the first bundle on, though later notices have replaced those by which the CAs came."""
    roster = lab.roster()
    key, ca = lab.key, lab.ca
    for step in range(3):
        new_key, new_ca = lab.new_ca()
        fill(roster, lab.wall, lab.authority(new_ca, age=100 - 10 * step, key=key))
        fill(roster, lab.wall, lab.authority(new_ca, age=95 - 10 * step, retires=True, key=new_key))
        key, ca = new_key, new_ca
    fill(roster, lab.wall, lab.certificate(0, (key, ca)))
    other = lab.roster()
    assert other.load(roster.dump(), lab.wall) == []
    assert other.trust.authorities == (ca,)
    assert everything(other) == everything(roster)
    assert other.dump() == roster.dump()


def test_changes_of_the_key_are_bounded(lab):
    roster = lab.roster()
    for number in range(MAX_AUTHORITIES):
        fill(roster, lab.wall, lab.authority(lab.new_ca()[1], age=number))
    assert reason(roster.offer(lab.authority(lab.new_ca()[1]), lab.wall)) is FULL


# -- all together -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(lab):
    """All sorts of records of a small network, most in several versions."""
    key, ca = lab.new_ca()
    delegate = lab.delegate(1)
    records = [lab.certificate(number) for number in range(4)]
    records += [lab.descriptor(number, version) for number in range(6) for version in (0, 1, 7)]
    records += [lab.delegation(1), lab.certificate(4, delegate), lab.certificate(5, delegate)]
    records += [lab.certificate(2, delegate, name="mallory"), lab.certificate(3, instead_of=lab.link(3))]
    records += [lab.run(number, age=number) for number in range(1, 4)] + [lab.run(2, age=1, stopped=True)]
    records += [lab.revocation(3, age=5), lab.revocation(9)]
    records += [lab.authority(ca, age=20), lab.certificate(0, (key, ca), instead_of=lab.link(0))]
    return records


@pytest.fixture(scope="module")
def settled(lab, world):
    """For tests that change nothing."""
    return settle(lab.roster(), world, lab.wall)


def settle(roster, records, wall):
    """As gossip does: until nothing is news any more."""
    while any(isinstance(roster.offer(encoded, wall), Record) for encoded in records):
        pass
    return roster


@settings(max_examples=12, deadline=None)
@given(order=st.randoms(use_true_random=False), some=st.integers(0, 40))
def test_all_end_with_the_same_whatever_the_order(lab, world, settled, order, some):
    expected = settled
    shuffled = list(world)
    order.shuffle(shuffled)
    roster = settle(lab.roster(), shuffled[:some], lab.wall)
    settle(roster, shuffled, lab.wall)
    assert roster.summary() == expected.summary()
    assert everything(roster) == everything(expected)
    assert expected.member(lab.peer(2).id).name == "peer2"
    assert roster.descriptor(lab.peer(5).id).version == int(lab.wall) + 7


@settings(max_examples=10, deadline=None)
@given(order=st.randoms(use_true_random=False))
def test_the_disk_brings_back_all_in_any_order(lab, settled, order):
    roster = settled
    records = [record.encoded for record in roster.records()]
    order.shuffle(records)
    other = lab.roster()
    shuffled = gossip_pb2.Records(records=[gossip_pb2.Record.FromString(one) for one in records])
    assert other.load(shuffled.SerializeToString(), lab.wall) == []
    assert everything(other) == everything(roster)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_of_a_broken_file_what_is_whole_is_read(lab, some_records, data):
    dump = bytearray(join_records(some_records))
    position = data.draw(st.integers(0, len(dump) - 1))
    dump[position] ^= data.draw(st.integers(1, 255))
    roster = lab.roster()
    refused = roster.load(bytes(dump), lab.wall)
    assert {record.encoded for record in roster.records()} < set(some_records)
    assert refused
    roster = lab.roster()
    refused = roster.load(bytes(dump[:position]), lab.wall)
    found = [record.encoded for record in roster.records()]
    assert len(found) <= len(some_records) - 1
    assert join_records(found) == bytes(dump[:position]) or refused


@pytest.fixture(scope="module")
def some_records(lab):
    """In order, so that what a file has of them from the beginning is good."""
    roster = lab.roster()
    fill(roster, lab.wall, *(lab.certificate(n) for n in range(2)), lab.revocation(9), lab.descriptor(1))
    return [record.encoded for record in roster.records()]


@given(st.binary(max_size=200))
def test_no_bytes_change_anything(lab, data):
    roster = fill(lab.roster(), lab.wall, lab.certificate(0))
    before = everything(roster)
    outcome = roster.offer(data, lab.wall)
    assert isinstance(outcome, Refused)
    assert everything(roster) == before
    assert roster.verifier.signatures == 1


@settings(max_examples=200)
@given(st.data())
def test_nothing_that_was_tampered_with_is_taken_in(lab, world, settled, data):
    """Any change of a byte: either the record is refused, or it says of itself that it is no news."""
    roster = settled
    before = everything(roster)
    encoded = bytearray(data.draw(st.sampled_from(world)))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(encoded) in world:
        return
    assert not isinstance(roster.offer(bytes(encoded), lab.wall), Record)
    assert everything(roster) == before


@settings(max_examples=100)
@given(st.data())
def test_nor_by_who_knows_nothing_yet(lab, some_records, data):
    encoded = bytearray(data.draw(st.sampled_from(some_records)))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    roster = fill(lab.roster(), lab.wall, lab.certificate(1))
    before = everything(roster)
    assert not isinstance(roster.offer(bytes(encoded), lab.wall), Record)
    assert everything(roster) == before


def test_ten_thousand_forged_records_leave_nothing(lab, make_lab, pair):
    """Of strangers: certificates that another CA has signed, descriptors that nobody has. One check of a
    signature each at most, and no byte is kept."""
    stranger = make_lab()
    before, spent = everything(pair), pair.verifier.signatures
    forged = [stranger.certificate(number) for number in range(2, 52)]
    descriptors = [lab.descriptor(number) for number in range(2, 52)]
    for number in range(100):
        for encoded in (forged if number < 20 else []) + descriptors * 2:
            assert isinstance(pair.offer(encoded, lab.wall), Refused)
    assert everything(pair) == before
    assert pair.verifier.signatures - spent <= 20 * 50


def test_oversized_records_are_not_even_parsed(lab, pair):
    outcome = pair.offer(bytes(MAX_RECORD_BYTES + 1), lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)
    long = lab.run(1, spec=RunSpec(run_id="ab" * 16, task="x", data_dir="d" * MAX_RECORD_BYTES))
    assert reason(pair.offer(long, lab.wall)) is BAD


def test_ranges_of_keys(lab, pair):
    keys = pair.keys()
    assert keys == sorted(keys)
    assert keys == [(record.key, record.version) for record in pair.records()]
    middle = keys[2][0]
    assert pair.keys(b"", middle) + pair.keys(middle) == keys
    assert pair.keys(middle, middle) == []
    assert pair.get(middle).key == middle
    assert pair.get(b"") is None


def test_what_is_lacking(lab, pair):
    key, version = peek(lab.descriptor(1))
    assert [pair.lacks(key, version + more) for more in (-1, 0, 1)] == [False, False, True]
    assert pair.lacks(*peek(lab.certificate(5)))
    assert not pair.lacks(b"", 1)
    assert not pair.lacks(b"\x07" + bytes(16), 1)
    assert not pair.lacks(key + b"x", version + 1)
    full = fill(lab.roster(max_members=2), lab.wall, lab.certificate(0), lab.certificate(1))
    assert not full.lacks(*peek(lab.certificate(5)))
    assert not full.lacks(*peek(lab.descriptor(5)))
    assert full.lacks(*peek(lab.descriptor(1)))


def test_the_versions_of_certificates_fit_their_range(lab):
    assert peek(lab.certificate(1))[1] - BY_AUTHORITY < BY_AUTHORITY
