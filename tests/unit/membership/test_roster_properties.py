from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership.records import (
    BY_AUTHORITY,
    MAX_RECORD_BYTES,
    Record,
    join_records,
    peek,
)
from peerd.membership.roster import Refused
from peerd.pb import gossip_pb2
from peerd.types import DropReason, RunSpec

DAY = 86_400.0
BAD, FULL = DropReason.BAD_GOSSIP, DropReason.GOSSIP_FULL
REVOKED, UNKNOWN = DropReason.REVOKED_PEER, DropReason.UNKNOWN_PEER


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
    return lab.settle(lab.roster(), world)


@settings(max_examples=12, deadline=None)
@given(order=st.randoms(use_true_random=False), some=st.integers(0, 40))
def test_all_end_with_the_same_whatever_the_order(lab, world, settled, order, some):
    expected = settled
    shuffled = list(world)
    order.shuffle(shuffled)
    roster = lab.settle(lab.roster(), shuffled[:some])
    lab.settle(roster, shuffled)
    assert roster.summary() == expected.summary()
    assert lab.everything(roster) == lab.everything(expected)
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
    assert lab.everything(other) == lab.everything(roster)


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
    lab.fill(roster, *(lab.certificate(n) for n in range(2)), lab.revocation(9), lab.descriptor(1))
    return [record.encoded for record in roster.records()]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_change_anything(lab, data):
    roster = lab.fill(lab.roster(), lab.certificate(0))
    before = lab.everything(roster)
    outcome = roster.offer(data, lab.wall)
    assert isinstance(outcome, Refused)
    assert lab.everything(roster) == before
    assert roster.verifier.signatures == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nothing_that_was_tampered_with_is_taken_in(lab, world, settled, data):
    """Any change of a byte: either the record is refused, or it says of itself that it is no news."""
    roster = settled
    before = lab.everything(roster)
    encoded = bytearray(data.draw(st.sampled_from(world)))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(encoded) in world:
        return
    assert not isinstance(roster.offer(bytes(encoded), lab.wall), Record)
    assert lab.everything(roster) == before


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nor_by_who_knows_nothing_yet(lab, some_records, data):
    encoded = bytearray(data.draw(st.sampled_from(some_records)))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    roster = lab.fill(lab.roster(), lab.certificate(1))
    before = lab.everything(roster)
    assert not isinstance(roster.offer(bytes(encoded), lab.wall), Record)
    assert lab.everything(roster) == before


def test_ten_thousand_forged_records_leave_nothing(lab, make_lab, pair):
    """Of strangers: certificates that another CA has signed, descriptors that nobody has. One check of a
    signature each at most, and no byte is kept."""
    stranger = make_lab()
    before, spent = lab.everything(pair), pair.verifier.signatures
    forged = [stranger.certificate(number) for number in range(2, 52)]
    descriptors = [lab.descriptor(number) for number in range(2, 52)]
    for number in range(100):
        for encoded in (forged if number < 20 else []) + descriptors * 2:
            assert isinstance(pair.offer(encoded, lab.wall), Refused)
    assert lab.everything(pair) == before
    assert pair.verifier.signatures - spent <= 20 * 50


def test_oversized_records_are_not_even_parsed(lab, pair):
    outcome = pair.offer(bytes(MAX_RECORD_BYTES + 1), lab.wall)
    assert (outcome.reason, outcome.hostile) == (BAD, True)
    long = lab.run(1, spec=RunSpec(run_id="ab" * 16, task="x", data_dir="d" * MAX_RECORD_BYTES))
    assert lab.reason(pair.offer(long, lab.wall)) is BAD


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
    full = lab.fill(lab.roster(max_members=2), lab.certificate(0), lab.certificate(1))
    assert not full.lacks(*peek(lab.certificate(5)))
    assert not full.lacks(*peek(lab.descriptor(5)))
    assert full.lacks(*peek(lab.descriptor(1)))


def test_the_versions_of_certificates_fit_their_range(lab):
    assert peek(lab.certificate(1))[1] - BY_AUTHORITY < BY_AUTHORITY
