from __future__ import annotations

from peerd.membership.records import (
    Kind,
    authority_id,
    key_of,
    peek,
)
from peerd.membership.roster import MAX_AUTHORITIES, Refused
from peerd.membership.verify import AHEAD_SECONDS
from peerd.types import DropReason

DAY = 86_400.0
BAD, FULL = DropReason.BAD_GOSSIP, DropReason.GOSSIP_FULL
REVOKED, UNKNOWN = DropReason.REVOKED_PEER, DropReason.UNKNOWN_PEER


def test_the_authority_changes_its_key(lab, pair):
    """Two steps; in the end all hangs on the new key, and only what was issued anew is left."""
    key, ca = lab.new_ca()
    lab.fill(pair, lab.delegation(1), lab.certificate(2), lab.descriptor(2), lab.run(1), lab.revocation(9))
    lab.fill(pair, lab.authority(ca, age=20))
    assert pair.trust.authorities == (lab.ca, ca)
    reissued = lab.certificate(1, (key, ca), instead_of=lab.link(1))
    lab.fill(pair, reissued, lab.certificate(0, (key, ca), instead_of=lab.link(0)))
    outcome = pair.admit(lab.authority(ca, age=10, retires=True, key=key), lab.wall)
    assert pair.trust.authorities == (ca,)
    kinds = sorted(record.kind for record in outcome.dropped)
    assert kinds == [Kind.DELEGATION, Kind.CERTIFICATE, Kind.REVOCATION, Kind.DESCRIPTOR, Kind.RUN]
    assert pair.members() == tuple(sorted(lab.peer(number).id for number in (0, 1)))
    assert pair.descriptor(lab.peer(1).id) is not None
    for of_the_old_key in (lab.certificate(2), lab.revocation(5), lab.delegation(1), lab.run(1)):
        assert lab.reason(pair.offer(of_the_old_key, lab.wall)) is BAD
    lab.fill(pair, lab.revocation(9, key=key))  # the authority signs them anew


def test_revocations_may_be_signed_anew_before(lab, pair):
    key, ca = lab.new_ca()
    lab.fill(pair, lab.revocation(9, age=50), lab.authority(ca, age=20), lab.revocation(9, age=15, key=key))
    lab.fill(pair, lab.authority(ca, age=10, retires=True, key=key))
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
    assert lab.reason(pair.offer(lab.authority(ca, age=-AHEAD_SECONDS - 9), lab.wall)) is BAD
    lab.fill(pair, lab.authority(ca, age=20))
    assert lab.reason(pair.offer(lab.authority(ca, age=10, retires=True), lab.wall)) is BAD  # by the old one
    assert pair.trust.authorities == (lab.ca, ca)


def test_who_starts_with_the_new_key_has_no_use_for_how_it_came(lab):
    key, ca = lab.new_ca()
    first, second = lab.authority(ca, age=20), lab.authority(ca, age=10, retires=True, key=key)
    roster = lab.roster(trust=lab.trust(ca))
    assert roster.offer(first, lab.wall) is None
    lab.fill(roster, second)
    other = lab.fill(lab.roster(), first, second)
    assert lab.everything(other) == lab.everything(roster)
    assert roster.offer(first, lab.wall) is None
    assert not roster.lacks(*peek(first))


def test_a_leaked_key_cannot_leave_a_backdoor(lab, pair):
    """Whoever has the old key brings in one of their own, dated ahead, just before the old one is retired."""
    key, ca = lab.new_ca()
    leaked_key, backdoor = lab.new_ca()
    lab.fill(pair, lab.authority(ca, age=20), lab.authority(backdoor, age=-3600.0))
    hidden = lab.certificate(5, (leaked_key, backdoor))
    lab.fill(pair, hidden)
    outcome = pair.admit(lab.authority(ca, age=10, retires=True, key=key), lab.wall)
    assert pair.trust.authorities == (ca,)
    assert lab.peer(5).id in [record.id for record in outcome.dropped]
    for again in (lab.authority(backdoor, age=-3600.0), hidden):
        assert lab.reason(pair.offer(again, lab.wall)) is BAD


def test_the_disk_leads_through_all_changes_of_the_key(lab):
    """From the CA of the first bundle on, though later notices have replaced those by which the CAs came."""
    roster = lab.roster()
    key, ca = lab.key, lab.ca
    for step in range(3):
        new_key, new_ca = lab.new_ca()
        lab.fill(roster, lab.authority(new_ca, age=100 - 10 * step, key=key))
        lab.fill(roster, lab.authority(new_ca, age=95 - 10 * step, retires=True, key=new_key))
        key, ca = new_key, new_ca
    lab.fill(roster, lab.certificate(0, (key, ca)))
    other = lab.roster()
    assert other.load(roster.dump(), lab.wall) == []
    assert other.trust.authorities == (ca,)
    assert lab.everything(other) == lab.everything(roster)
    assert other.dump() == roster.dump()


def test_changes_of_the_key_are_bounded(lab):
    roster = lab.roster()
    for number in range(MAX_AUTHORITIES):
        lab.fill(roster, lab.authority(lab.new_ca()[1], age=number))
    assert lab.reason(roster.offer(lab.authority(lab.new_ca()[1]), lab.wall)) is FULL
