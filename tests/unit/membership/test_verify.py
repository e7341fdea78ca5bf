"""What one record needs to be good, on its own; `test_roster*` has what it needs of others."""

from __future__ import annotations

import pytest

from peerd.membership import certificates
from peerd.membership.records import Kind, authority_id, open_record, operator_id, peek
from peerd.membership.verify import AHEAD_SECONDS, Refused, Verified, Verifier
from peerd.pb import gossip_pb2


@pytest.fixture
def verifier(lab):
    return Verifier(lab.trust())


@pytest.fixture
def verify(lab, verifier):
    """The verdict on an encoded record; the peers of the lab are members, the first is a delegate."""

    def judge(encoded, wall=None):
        opened = open_record(encoded)
        method = getattr(verifier, opened.kind.name.lower())
        more = []
        if opened.kind is Kind.CERTIFICATE:
            _, delegate = lab.delegate(1)
            issuer = certificates.issuing_delegate(opened.message)
            more = [None if issuer is None else _delegate(lab, delegate)]
        elif opened.kind is Kind.DESCRIPTOR:
            more = [_member(lab, opened.id)]
        return method(opened, *more, lab.wall if wall is None else wall)

    return judge


def _delegate(lab, certificate):
    roster = lab.roster()
    return roster.offer(lab.delegation(1), lab.wall).body if certificate else None


def _member(lab, identifier):
    number = next(number for number in range(10) if lab.peer(number).id == identifier)
    return lab.roster().offer(lab.certificate(number), lab.wall).body


def one_of_each(lab):
    return {
        Kind.AUTHORITY: lab.authority(lab.new_ca()[1]),
        Kind.DELEGATION: lab.delegation(1),
        Kind.CERTIFICATE: lab.certificate(1),
        Kind.REVOCATION: lab.revocation(1),
        Kind.DESCRIPTOR: lab.descriptor(1),
        Kind.RUN: lab.run(1),
    }


def test_every_kind_says_who_is_behind_it(lab, verify):
    ca, operator = authority_id(lab.ca), operator_id(lab.operator_key.public_key())
    for kind, encoded in one_of_each(lab).items():
        verdict = verify(encoded)
        assert isinstance(verdict, Verified)
        assert (verdict.record.kind, verdict.record.encoded) == (kind, encoded)
        assert (verdict.record.key, verdict.record.version) == peek(encoded)
        assert verdict.by == (b"" if kind is Kind.DESCRIPTOR else ca)
        assert verdict.operator == (operator if kind is Kind.RUN else b"")


def test_a_certificate_of_a_delegate_hangs_on_no_ca_itself(lab, verify):
    verdict = verify(lab.certificate(2, lab.delegate(1)))
    assert (verdict.by, verdict.record.body.issuer) == (b"", lab.peer(1).id)


def test_signatures_are_counted(lab, verifier, verify):
    spent = {}
    for kind, encoded in one_of_each(lab).items():
        before = verifier.signatures
        verify(encoded)
        spent[kind.name] = verifier.signatures - before
    assert spent == {
        "AUTHORITY": 2,
        "DELEGATION": 1,
        "CERTIFICATE": 1,
        "REVOCATION": 1,
        "DESCRIPTOR": 1,
        "RUN": 2,
    }


def test_what_is_untimely_costs_none(lab, verifier, verify):
    late = AHEAD_SECONDS + 90
    for encoded, wall in (
        (lab.authority(lab.new_ca()[1], age=-late), lab.wall),
        (lab.authority(lab.new_ca()[1]), lab.wall + 4000 * 86_400),
        (lab.delegation(1), lab.wall + 4000 * 86_400),
        (lab.delegation(1), lab.wall - 4000),
        (lab.certificate(1), lab.wall + 4000 * 86_400),
        (lab.certificate(1), lab.wall - 4000),
        (lab.revocation(1, age=-late), lab.wall),
        (lab.descriptor(1, version=int(late)), lab.wall),
        (lab.descriptor(1, name="mallory"), lab.wall),
        (lab.run(1, age=-late), lab.wall),
        (lab.run(1), lab.wall + 4000 * 86_400),
    ):
        before = verifier.signatures
        verdict = verify(encoded, wall)
        assert isinstance(verdict, Refused)
        assert not verdict.hostile
        assert verifier.signatures == before


def test_a_name_in_a_revocation_may_be_printed(lab, verify):
    for name in ("\x1b[2J", "a" * 65, "a\nb"):
        body = gossip_pb2.Revocation(network="lab", id=bytes(16), issued_at_ms=1, name=name)
        body = body.SerializeToString(deterministic=True)
        signed = gossip_pb2.SignedRevocation(revocation=body, signature=b"x")
        verdict = verify(gossip_pb2.Record(revocation=signed).SerializeToString(deterministic=True))
        assert (verdict.why, verdict.hostile) == ("revocation: not a name", True)


def test_other_networks_records_are_told_by_their_name(lab, make_lab, verifier, verify):
    other = make_lab("other")
    for encoded in (other.authority(lab.new_ca()[1], key=lab.key), other.revocation(1, key=lab.key)):
        verdict = verify(encoded)
        assert "of another network" in verdict.why
    assert verifier.signatures == 0
