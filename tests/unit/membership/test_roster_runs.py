from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import certificates, records
from peerd.membership.records import Kind, operator_id, peek, run_spec_message
from peerd.membership.roster import MAX_RUNS
from peerd.membership.verify import AHEAD_SECONDS, Refused
from peerd.pb import gossip_pb2
from peerd.types import DropReason

DAY = 86_400.0
BAD, FULL = DropReason.BAD_GOSSIP, DropReason.GOSSIP_FULL
REVOKED, UNKNOWN = DropReason.REVOKED_PEER, DropReason.UNKNOWN_PEER


def test_a_run_is_announced_and_ended(lab, roster):
    record = roster.offer(lab.run(1, age=10), lab.wall)
    notice = record.body
    assert (notice.spec.run_id, notice.stopped, notice.join_seconds) == (f"{1:032x}", False, 30.0)
    assert notice.issued_at == pytest.approx(lab.wall - 10, abs=0.001)
    assert notice.operator == "olga"
    lab.fill(roster, lab.run(2, age=8), lab.run(1, age=5, stopped=True))
    assert [(run.spec.run_id[-1], run.stopped) for run in roster.runs()] == [("1", True), ("2", False)]
    assert roster.offer(lab.run(1, age=10), lab.wall) is None


def test_who_may_not_announce(lab, make_lab, roster):
    stranger = make_lab()
    other_key = certificates.new_key()
    by_delegate = lab.operator(issuer=lab.delegate(1))
    lab.fill(roster, lab.delegation(1))
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
    for untimely, wall in (
        (lab.run(1, age=-AHEAD_SECONDS - 90), lab.wall),
        (lab.run(1, operator_cert=lab.operator(days=0.0)), time.time() + 60),  # made now, whenever that is
    ):
        outcome = roster.offer(untimely, wall)
        assert (outcome.reason, outcome.hostile) == (BAD, False)
    assert roster.runs() == []


def test_a_spec_that_is_none(lab, roster):
    broken = gossip_pb2.Record.FromString(lab.run(1))
    body = gossip_pb2.RunNotice.FromString(broken.run.run)
    body.spec = body.spec + b"\x20\x00"  # rounds: 0
    broken.run.run = body.SerializeToString(deterministic=True)
    assert lab.reason(roster.offer(broken.SerializeToString(deterministic=True), lab.wall)) is BAD


def test_a_spec_of_a_later_version_is_left_to_those_that_know_it(lab, roster, monkeypatch):
    """To follow half of its rules would be to spoil the experiment."""
    monkeypatch.setattr(records, "run_spec_message", lambda spec: LaterSpec(spec))
    outcome = roster.offer(lab.run(1), lab.wall)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.hostile) == (DropReason.UNKNOWN_RECORD, False)


class LaterSpec:
    def __init__(self, spec):
        self.message = run_spec_message(spec)

    def SerializeToString(self, deterministic):
        return self.message.SerializeToString(deterministic=deterministic) + b"\xa2\x06\x05later"


def test_a_revoked_operator_has_announced_nothing(lab, roster):
    lab.fill(roster, lab.run(1), lab.run(2))
    who = operator_id(lab.operator_key.public_key())
    outcome = roster.admit(lab.revocation(who), lab.wall)
    assert [record.kind for record in outcome.dropped] == [Kind.RUN, Kind.RUN]
    assert lab.reason(roster.offer(lab.run(1), lab.wall)) is REVOKED
    assert lab.reason(roster.offer(lab.run(3, operator_cert=lab.operator()), lab.wall)) is REVOKED


@settings(deadline=None)
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
    lab.fill(roster, first, lab.run(77, age=400.0, stopped=True), *reversed(twelve_runs))
    assert roster.expire(lab.wall + 3 * DAY) == []
    assert 77 not in [int(run.spec.run_id, 16) for run in roster.runs()]
    assert lab.reason(roster.offer(first, lab.wall)) is FULL


def test_an_operators_certificate_that_is_over_ends_its_notices(lab, roster):
    lab.fill(roster, lab.run(1, operator_cert=lab.operator(days=2)), lab.run(2))
    assert len(roster.expire(lab.wall + 3 * DAY)) == 1
    assert len(roster.runs()) == 1
