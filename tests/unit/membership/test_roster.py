from __future__ import annotations

import pytest

from peerd.membership import certificates
from peerd.membership.records import (
    Kind,
    Record,
    descriptor_record,
    key_of,
    peek,
)
from peerd.membership.roster import Admitted, Refused
from peerd.membership.verify import AHEAD_SECONDS
from peerd.pb import gossip_pb2
from peerd.types import DropReason

DAY = 86_400.0
BAD, FULL = DropReason.BAD_GOSSIP, DropReason.GOSSIP_FULL
REVOKED, UNKNOWN = DropReason.REVOKED_PEER, DropReason.UNKNOWN_PEER


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
    lab.fill(pair, lab.descriptor(1, version=5), renewed)
    before, spent = lab.everything(pair), pair.verifier.signatures
    for encoded in (
        lab.descriptor(1, version=5),
        lab.descriptor(1, version=4, leaving=True),
        lab.certificate(1),
        renewed,
    ):
        assert pair.offer(encoded, lab.wall) is None
    assert lab.everything(pair) == before
    assert pair.verifier.signatures == spent


def test_of_two_of_one_version_the_first_stays(lab, pair):
    assert pair.offer(lab.descriptor(1, leaving=True), lab.wall) is None
    assert not pair.descriptor(lab.peer(1).id).leaving


def test_but_of_oneself_the_other_is_told(lab):
    """Two daemons with one identity that were started in the same second."""
    mine = lab.fill(lab.roster(me=1), lab.certificate(1), lab.descriptor(1, version=5, instance=1))
    other = lab.descriptor(1, version=5, instance=2)
    admitted = mine.admit(other, lab.wall)
    assert admitted.record.encoded == other
    assert mine.admit(other, lab.wall) is None
    assert mine.admit(lab.descriptor(1, version=4, instance=3), lab.wall) is None


def test_a_descriptor_needs_a_certificate(lab, pair):
    outcome = pair.offer(lab.descriptor(2), lab.wall)
    assert outcome == Refused(UNKNOWN, outcome.why, waits_for=key_of(Kind.CERTIFICATE, lab.peer(2).id))
    lab.fill(pair, lab.certificate(2), lab.descriptor(2))


def test_a_descriptor_has_the_name_of_its_certificate(lab, pair):
    spent = pair.verifier.signatures
    assert lab.reason(pair.offer(lab.descriptor(1, version=1, name="mallory"), lab.wall)) is BAD
    assert pair.verifier.signatures == spent


def test_a_new_name_ends_the_descriptor_of_the_old_one(lab, pair):
    outcome = pair.admit(lab.certificate(1, name="bob", instead_of=lab.link(1)), lab.wall)
    assert isinstance(outcome, Admitted)
    assert outcome.previous.body.name == "peer1"
    assert [record.kind for record in outcome.dropped] == [Kind.DESCRIPTOR]
    assert pair.descriptor(lab.peer(1).id) is None
    lab.fill(pair, lab.descriptor(1, name="bob"))


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
    lab.fill(roster, lab.certificate(1, days=10), lab.descriptor(1), lab.certificate(2, days=20))
    assert roster.expire(lab.wall + 9 * DAY) == []
    assert roster.expire(0.0) == []  # a clock set back ends nothing
    gone = roster.expire(lab.wall + 11 * DAY)
    assert [record.kind for record in gone] == [Kind.CERTIFICATE, Kind.DESCRIPTOR]
    assert roster.members() == (lab.peer(2).id,)
    assert lab.reason(roster.offer(lab.descriptor(1, version=7), lab.wall)) is UNKNOWN


def test_there_is_room_for_so_many(lab):
    roster = lab.roster(max_members=3)
    lab.fill(roster, *(lab.certificate(number) for number in (1, 2, 3)))
    spent = roster.verifier.signatures
    assert lab.reason(roster.offer(lab.certificate(4), lab.wall)) is FULL
    assert lab.reason(roster.offer(lab.descriptor(4), lab.wall)) is UNKNOWN
    assert roster.verifier.signatures == spent
    lab.fill(roster, lab.certificate(1, instead_of=lab.link(1)))  # known ones may be renewed
    lab.fill(roster, lab.certificate(0), lab.descriptor(0))  # there is always room for oneself
    assert roster.members() == tuple(sorted(lab.peer(number).id for number in range(4)))


# -- delegates ----------------------------------------------------------------------------------------


def test_a_delegate_signs_somebody_in(lab, roster):
    delegate = lab.delegate(1)
    newcomer = lab.certificate(2, delegate)
    outcome = roster.offer(newcomer, lab.wall)
    assert outcome == Refused(UNKNOWN, outcome.why, waits_for=key_of(Kind.DELEGATION, lab.peer(1).id))
    lab.fill(roster, lab.delegation(1), newcomer, lab.descriptor(2))
    assert roster.member(lab.peer(2).id).issuer == lab.peer(1).id
    assert roster.delegate(lab.peer(1).id).certificate is not None


def test_a_delegation_is_issued_by_the_ca(lab, make_lab, roster):
    assert lab.reason(roster.offer(make_lab().delegation(1), lab.wall)) is BAD
    lab.fill(roster, lab.delegation(1))
    second = lab.delegation(2, issuer=lab.delegate(1))
    assert lab.reason(roster.offer(second, lab.wall)) is BAD


def test_a_delegate_is_bound_to_its_dates(lab, roster):
    lab.fill(roster, lab.delegation(1, days=5))
    newcomer = lab.certificate(2, lab.delegate(1, days=100))
    outcome = roster.offer(newcomer, lab.wall + 6 * DAY)
    assert (outcome.reason, outcome.hostile) == (BAD, False)
    lab.fill(roster, newcomer, lab.descriptor(2))
    gone = roster.expire(lab.wall + 6 * DAY)
    assert [record.kind for record in gone] == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR]


def test_what_a_delegate_has_not_signed_itself(lab, roster):
    lab.fill(roster, lab.delegation(1))
    _, certificate = lab.delegate(1)
    forged = lab.certificate(2, (lab.peer(3).link, certificate))
    outcome = roster.offer(forged, lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)


def test_a_delegate_cannot_displace_whom_the_ca_has_enrolled(lab, pair):
    """Whatever the dates, and in whatever order they come."""
    lab.fill(pair, lab.delegation(2))
    stolen = lab.certificate(1, lab.delegate(2), name="mallory", instead_of=lab.link(1))
    assert pair.offer(stolen, lab.wall) is None
    assert pair.member(lab.peer(1).id).name == "peer1"
    other = lab.fill(lab.roster(), lab.delegation(2), stolen, lab.certificate(1))
    assert other.member(lab.peer(1).id).name == "peer1"


def test_another_key_of_a_delegate_ends_what_the_earlier_has_issued(lab, roster):
    lab.fill(roster, lab.delegation(1), lab.certificate(2, lab.delegate(1)))
    peer, other_key = lab.peer(1), certificates.new_key()
    renewed = gossip_pb2.Record(
        delegation=certificates.der(
            certificates.delegate_certificate(peer.id, peer.name, other_key.public_key(), lab.ca, lab.key)
        )
    ).SerializeToString()
    _, version = peek(lab.delegation(1))
    if peek(renewed)[1] <= version:  # made within one second: which replaces which is of no matter here
        roster._shelf.pop(key_of(Kind.DELEGATION, peer.id))
        lab.fill(roster, renewed)
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
        assert lab.reason(pair.offer(encoded, lab.wall)) is REVOKED
        assert not pair.lacks(*peek(encoded))
    assert pair.verifier.signatures == spent
    assert pair.expire(lab.wall + 9000 * DAY) != []
    assert pair.is_revoked(peer)


def test_who_is_not_known_can_be_revoked(lab, roster):
    lab.fill(roster, lab.revocation(7))
    assert lab.reason(roster.offer(lab.certificate(7), lab.wall)) is REVOKED


def test_with_a_delegate_goes_whom_it_has_signed_in(lab, pair):
    delegate = lab.delegate(1)
    lab.fill(pair, lab.delegation(1), lab.certificate(2, delegate), lab.descriptor(2))
    outcome = pair.admit(lab.revocation(1), lab.wall)
    gone = [(record.kind, record.id) for record in outcome.dropped]
    one, two = lab.peer(1).id, lab.peer(2).id
    assert sorted(gone) == sorted(
        [
            *((kind, one) for kind in (Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR)),
            *((kind, two) for kind in (Kind.CERTIFICATE, Kind.DESCRIPTOR)),
        ]
    )
    assert lab.reason(pair.offer(lab.certificate(2, delegate), lab.wall)) is REVOKED
    assert lab.reason(pair.offer(lab.certificate(3, delegate), lab.wall)) is REVOKED
    assert not pair.is_revoked(two)
    lab.fill(pair, lab.certificate(2), lab.descriptor(2, version=1))  # the CA itself may enrol them


def test_only_the_authority_revokes(lab, make_lab, pair):
    for forged in (
        lab.revocation(1, key=lab.peer(0).link),
        lab.revocation(1, key=lab.peer(1).link),
        make_lab("other").revocation(1),
        make_lab("other").revocation(1, key=lab.key),  # good for another network of the same key
    ):
        outcome = pair.offer(forged, lab.wall)
        assert (outcome.reason, outcome.hostile) == (BAD, True)
    assert lab.reason(pair.offer(lab.revocation(1, age=-AHEAD_SECONDS - 9), lab.wall)) is BAD
    assert not pair.is_revoked(lab.peer(1).id)


def test_the_disk_remembers_who_is_revoked(lab, pair):
    lab.fill(pair, lab.revocation(1))
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
    lab.fill(pair, lab.revocation(1), lab.revocation(3))
    assert not pair.allows(one, lab.wall)
    assert not pair.allows(one, lab.wall, certificates.der(leaf))
    assert pair.allows(two, lab.wall)
    # TLS takes anybody whom a revoked delegate makes up.
    assert not pair.allows(two, lab.wall, certificates.der(by_delegate))
