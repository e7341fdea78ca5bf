"""What the steps sign; what they do to a network is in test_authority."""

from __future__ import annotations

import time

import pytest

from peerd.membership import certificates, rollover
from peerd.membership.ledger import Ledger, Revoked
from peerd.membership.records import NewAuthority, Revocation, peek, sign_revocation
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust

NOW = time.time()


@pytest.fixture
def keys():
    return [certificates.new_key() for _ in range(3)]


@pytest.fixture
def ledger(keys) -> Ledger:
    """A network that has revoked somebody."""
    record = sign_revocation("lab", b"r" * 16, "mallory", NOW, keys[0])
    gone = Revoked("peer", b"r" * 16, "mallory", NOW, record)
    return Ledger(authorities=(certificates.make_ca("lab", keys[0]),), revoked=(gone,))


def roster_of(ledger: Ledger) -> Roster:
    return Roster("lab", Trust("lab", ledger.authorities), 10, bytes(16))


def test_the_earlier_ca_signs_in_the_new_one_which_ends_it(ledger, keys):
    begun = rollover.begin(ledger, "lab", keys[0], keys[1], NOW)
    ended = rollover.finish(begun, "lab", keys[1], NOW + 1)
    roster = roster_of(ledger)
    first, last = (roster.offer(record, NOW).body for record in ended.history)
    assert isinstance(first, NewAuthority)
    assert (first.certificate, first.retires_earlier) == (begun.authorities[0], False)
    assert (last.certificate, last.retires_earlier) == (begun.authorities[0], True)
    assert roster.trust.authorities == ended.authorities


def test_a_revocation_outlasts_the_ca_that_signed_it(ledger, keys):
    begun = rollover.begin(ledger, "lab", keys[0], keys[1], NOW)
    ended = rollover.finish(begun, "lab", keys[1], NOW + 1)
    (old,), (new,) = ledger.revoked, ended.revoked
    assert peek(new.record)[1] > peek(old.record)[1]
    assert isinstance(roster_of(ended).offer(new.record, NOW).body, Revocation)
    roster = roster_of(ledger)
    for record in (old.record, *begun.history, new.record, *ended.history):
        roster.offer(record, NOW)
    assert roster.is_revoked(b"r" * 16)


def test_steps_go_on_where_the_clock_was_set_back(ledger, keys):
    begun = rollover.begin(ledger, "lab", keys[0], keys[1], NOW)
    ended = rollover.finish(begun, "lab", keys[1], NOW - 3600)
    again = rollover.begin(ended, "lab", keys[1], keys[2], NOW - 7200)
    roster = roster_of(ledger)
    for record in again.history:
        roster.offer(record, NOW)
    assert set(roster.trust.authorities) == set(again.authorities)
    versions = [peek(record)[1] for record in again.history]
    assert versions == sorted(set(versions))
