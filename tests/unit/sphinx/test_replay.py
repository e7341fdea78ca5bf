from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.sphinx import ReplayFilter, replay
from peerd.types import DropReason

tags = st.integers(0, 60).map(lambda number: random.Random(number).randbytes(16))


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.booleans(), tags), max_size=120),
)
def test_it_behaves_like_a_bounded_set(capacity, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "FIRST_FILTER_TAGS", 4)  # so that the chain grows within the test
        filter_, known = ReplayFilter(capacity), set()
        for reload, tag in steps:
            if reload:
                filter_.add(tag)
                known.add(tag)
            elif tag in known:
                assert filter_.check_and_add(tag) is DropReason.REPLAY
            elif len(known) >= capacity:
                assert filter_.check_and_add(tag) is DropReason.REPLAY_FILTER_FULL
            else:
                assert filter_.check_and_add(tag) is None
                known.add(tag)
            assert len(filter_) == len(known)
        assert all(filter_.check_and_add(tag) is DropReason.REPLAY for tag in known)


def test_it_says_how_full_it_is():
    filter_ = ReplayFilter(4)
    assert filter_.used == 0.0
    for number in range(6):
        filter_.check_and_add(bytes([number]) * 16)
    assert filter_.used == 1.0
    filter_.add(b"of the journal..")  # beyond the capacity, which was lowered since
    assert filter_.used == 1.0


def test_full_means_closed_and_replays_are_still_named():
    filter_ = ReplayFilter(3)
    seen = [os.urandom(16) for _ in range(3)]
    assert [filter_.check_and_add(tag) for tag in seen] == [None] * 3
    assert filter_.check_and_add(os.urandom(16)) is DropReason.REPLAY_FILTER_FULL
    assert filter_.check_and_add(seen[0]) is DropReason.REPLAY
    assert len(filter_) == 3


def test_a_chain_filled_to_the_brim_keeps_its_false_positive_rate(monkeypatch):
    monkeypatch.setattr(replay, "FIRST_FILTER_TAGS", 2**13)
    capacity = 2**16 - 2**13  # three filters, all full
    filter_ = ReplayFilter(capacity)
    wrong = sum(filter_.check_and_add(os.urandom(16)) is DropReason.REPLAY for _ in range(capacity))
    fresh = 300_000
    wrong += sum(filter_.check_and_add(os.urandom(16)) is DropReason.REPLAY for _ in range(fresh))
    assert filter_.check_and_add(os.urandom(16)) is DropReason.REPLAY_FILTER_FULL
    assert filter_.false_positive_rate == pytest.approx(1e-6)
    assert wrong <= 5, "expected 0.35; more than 5 come by chance once in a million runs"


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.sets(st.integers(0, 2**64), max_size=70),
    st.integers(0, 70),
    st.integers(1, 9),
)
def test_to_load_is_to_add_one_by_one(capacity, numbers, known_before, chunk):
    """The same filters, bit for bit: they grow at the same tags, also beyond a capacity that was lowered."""
    fresh = [number.to_bytes(16, "big") for number in numbers]
    first, rest = fresh[:known_before], fresh[known_before:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "FIRST_FILTER_TAGS", 4)
        patch.setattr(replay, "LOAD_TAGS", chunk)
        patch.setattr(replay, "FALSE_POSITIVE_RATE", 1e-12)  # `add` takes no tag for known that is not
        loaded, added = ReplayFilter(capacity), ReplayFilter(capacity)
        for tag in first:
            assert loaded.check_and_add(tag) == added.check_and_add(tag)
        loaded.load(iter(rest))
        for tag in rest:
            added.add(tag)
        assert loaded._filters == added._filters
        assert (len(loaded), loaded._room) == (len(added), added._room)
        assert loaded.memory_bytes == added.memory_bytes
        assert loaded.false_positive_rate == added.false_positive_rate
        assert loaded.expected_false_positives == added.expected_false_positives
        assert all(loaded.check_and_add(tag) is DropReason.REPLAY for tag in rest)
        more = [b"fresh %10d" % number for number in range(10)]
        assert [loaded.check_and_add(t) for t in more] == [added.check_and_add(t) for t in more]


def test_a_log_of_many_pieces_is_loaded_whole():
    filter_ = ReplayFilter(2**21)
    filter_.load(number.to_bytes(16, "big") for number in range(3 * replay.LOAD_TAGS + 5))
    assert len(filter_) == 3 * replay.LOAD_TAGS + 5
    assert filter_.check_and_add((3 * replay.LOAD_TAGS + 4).to_bytes(16, "big")) is DropReason.REPLAY
    assert filter_.check_and_add(b"f" * 16) is None


def test_false_replays_to_be_expected_are_the_sum_of_the_bounds(monkeypatch):
    monkeypatch.setattr(replay, "FIRST_FILTER_TAGS", 4)
    filter_ = ReplayFilter(28)  # filters of 4, 8 and 16 tags
    assert filter_.expected_false_positives == 0.0
    expected = 0.0
    for number in range(28):
        assert filter_.check_and_add(number.to_bytes(16, "big")) is None
        expected += filter_.false_positive_rate
        assert filter_.expected_false_positives == pytest.approx(expected)
    assert filter_.check_and_add(b"r" * 16) is DropReason.REPLAY_FILTER_FULL
    assert filter_.check_and_add(bytes(16)) is DropReason.REPLAY
    assert filter_.expected_false_positives == pytest.approx(expected)
    one = replay.FALSE_POSITIVE_RATE / 3
    assert expected == pytest.approx(4 * one + 8 * 2 * one + 16 * 3 * one)


@pytest.mark.parametrize(
    ("capacity", "bytes_per_tag"), [(2**20, 3.6), (16_000_000, 4.0), (64_000_000, 4.1), (1_000_000_000, 4.2)]
)
def test_memory_and_rate_are_as_stated(capacity, bytes_per_tag):
    filter_ = ReplayFilter(capacity)
    assert filter_.memory_bytes / 2**20 == pytest.approx(bytes_per_tag, rel=0.02)
    assert filter_.false_positive_rate <= replay.FALSE_POSITIVE_RATE


def test_a_small_capacity_takes_little_memory():
    assert ReplayFilter(1000).memory_bytes < 5000


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_filter_holds_at_least_one_tag(capacity):
    with pytest.raises(ValueError, match="at least one"):
        ReplayFilter(capacity)
