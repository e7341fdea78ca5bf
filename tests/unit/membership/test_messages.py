from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership.messages import (
    Digest,
    Records,
    Summary,
    Unknown,
    Wanted,
    decode,
    encode_digests,
    encode_records,
    encode_summary,
    encode_wanted,
    fits,
)
from peerd.membership.records import KEY_BYTES
from peerd.pb import gossip_pb2

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
KNOWN = st.dictionaries(KEYS, st.integers(0, 2**64 - 1), max_size=120).map(
    lambda known: sorted(known.items())
)
CELLS = st.integers(128, 1000)


@settings(deadline=None)
@given(st.binary(min_size=16, max_size=16), st.floats(0, 2**52 / 1000))
def test_a_summary_comes_back(digest, wall):
    summary = decode(encode_summary(digest, wall))
    assert isinstance(summary, Summary)
    assert summary.hash == digest
    assert summary.sent_at == pytest.approx(wall, abs=0.001)


def test_a_clock_before_1970_says_nothing_that_is_no_number():
    assert decode(encode_summary(bytes(16), -5.0)) == Summary(bytes(16), 0.0)


@settings(deadline=None)
@given(KNOWN, CELLS)
def test_digests_cover_everything_without_a_gap(known, cell):
    cells = encode_digests(known, cell)
    assert all(len(data) <= cell for _, data in cells)
    digests = [decode(data) for _, data in cells]
    assert all(isinstance(digest, Digest) for digest in digests)
    assert [digest.from_ for digest in digests] == [start for start, _ in cells]
    assert (digests[0].from_, digests[-1].until) == (b"", b"")
    assert [digest.until for digest in digests[:-1]] == [digest.from_ for digest in digests[1:]]
    assert [entry for digest in digests for entry in digest.known] == known


@settings(deadline=None)
@given(st.lists(KEYS, max_size=120), CELLS)
def test_wishes_come_back(keys, cell):
    cells = encode_wanted(keys, cell)
    assert all(len(data) <= cell for data in cells)
    assert [key for data in cells for key in decode(data).keys] == keys


@pytest.fixture(scope="module")
def some(lab):
    return [lab.descriptor(number) for number in range(12)] + [lab.certificate(number) for number in range(3)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 14), max_size=40), st.integers(300, 3000), st.integers(0, 6))
def test_records_come_back_as_many_as_fit(some, chosen, cell, limit):
    records = [some[number] for number in chosen]
    cells = encode_records(records, cell, limit)
    assert len(cells) <= limit
    assert all(len(data) <= cell for data in cells)
    found = [record for data in cells for record in decode(data).encoded]
    possible = [record for record in records if fits(record, cell)]
    assert found == possible[: len(found)]
    if len(cells) < limit:
        assert found == possible
    for earlier, later in pairwise(cells):  # no cell has room for what the next begins with
        assert len(earlier) + len(decode(later).encoded[0]) > cell - 6


@settings(deadline=None)
@given(st.integers(128, 70_000), st.integers(-3, 3))
def test_what_just_fits(cell, more):
    record = bytes(cell - 7 - (cell > 135) + more)
    data = encode_records([record], cell, 1)
    assert bool(data) == fits(record, cell)
    assert all(len(one) <= cell for one in data)


def message(**body):
    return gossip_pb2.Gossip(**body).SerializeToString()


K = [bytes((kind,)) + bytes(16) for kind in range(1, 7)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        message(summary={"hash": bytes(15)}),
        message(wanted={"keys": [K[0], b"short"]}),
        message(digest={"known": [{"key": b"short"}]}),
        message(digest={"known": [{"key": K[1]}, {"key": K[0]}]}),
        message(digest={"known": [{"key": K[1]}, {"key": K[1]}]}),
        message(digest={"from": K[1], "known": [{"key": K[0]}]}),
        message(digest={"until": K[1], "known": [{"key": K[1]}]}),
        message(digest={"from": K[1], "until": K[1]}),
        message(digest={"from": K[2], "until": K[1]}),
        message(digest={"from": b"short"}),
        message(digest={"until": b"short"}),
    ],
    ids=str,
)
def test_what_is_not_well_formed(data):
    assert decode(data) is None


def test_what_is():
    assert decode(message(digest={"from": K[0], "until": K[2], "known": [{"key": K[0]}, {"key": K[1]}]})) == (
        Digest(K[0], K[2], ((K[0], 0), (K[1], 0)))
    )
    assert decode(message(wanted={})) == Wanted(())
    assert decode(message(records={})) == Records(())


@pytest.mark.parametrize("of_a_later_version", [b"\x2a\x03abc", b"\x28\x07"])
def test_what_only_a_later_version_says_is_told_from_garbage(of_a_later_version):
    assert decode(of_a_later_version) == Unknown()
    assert decode(of_a_later_version * 2) is None  # one body, as ever


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_crash(data):
    decode(data)
