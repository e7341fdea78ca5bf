"""What is kept of which round, and what the kept tells about where the others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.learning import Fragment, Layout
from peerd.learning.collect import AHEAD, Collected, Others
from peerd.learning.encoding import Float32
from peerd.types import DropReason, RunSpec

MakeFragment = Callable[..., Fragment]
MakeCollected = Callable[..., Collected]


@pytest.fixture
def collect(layout: Layout, make_spec: Callable[..., RunSpec]) -> MakeCollected:
    """Four others who contribute from round 1, unless told otherwise; round 5 of 100 is collected."""

    def make(others: Any = (1, 1, 1, 1), round: int = 5, **spec: Any) -> Collected:
        encoding = Float32(4 * layout.fragment_values)
        rules = make_spec(rounds=100, **spec)
        return Collected(rules, layout, Others(others), round, encoding=encoding, slices=layout)

    return make


def feed(collected: Collected, make: MakeFragment, round: int, others: int, indices: int = 3) -> list[Any]:
    return [collected.add(make(i, round=round)) for _ in range(others) for i in range(indices)]


# -- the others -----------------------------------------------------------------


def test_who_contributes_when() -> None:
    others = Others([0, 3, 1, 0, 3, 9])
    assert [others.contributing(round) for round in (1, 2, 3, 8, 9, 10)] == [1, 1, 3, 3, 4, 4]
    assert (others.total, others.contributors) == (6, 4)


@given(st.lists(st.integers(-20, 20)), st.integers(1, 20))
def test_who_is_waited_for_and_who_is_there_are_counts(numbers: list[int], round: int) -> None:
    others = Others(numbers)
    expected = sum(0 < number <= round or number == -round for number in numbers)
    assert others.contributing(round) == expected
    assert others.present(round) == sum(not 0 < -number < round for number in numbers)
    assert others.heard_from(round) == any(number > 0 or -number >= round for number in numbers if number)


def test_who_has_finished_is_waited_for_in_its_last_round_alone(collect: MakeCollected) -> None:
    collected = collect([1, -5, 0], round=5)
    assert [collected.expected(round) for round in (4, 5, 6)] == [3, 6, 3]
    assert [collected.others.present(round) for round in (5, 6)] == [3, 2]


# -- what is kept -----------------------------------------------------------------


def test_of_each_round_as_many_as_contribute_are_expected(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    collected = collect(others=[1, 6, 0])
    assert [collected.expected(round) for round in (5, 6)] == [3, 6]
    assert feed(collected, make_fragment, 5, others=3) == [0] * 9
    assert collected.received(5) == 3
    assert feed(collected, make_fragment, 6, others=3) == [0] * 9
    assert collected.received(6) == 6
    assert collected.add(make_fragment(0, round=5)) is DropReason.OVER_COUNT


def test_nothing_is_allocated_for_what_is_refused(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    collected = collect()
    for changes, reason in (
        ({"run": 8}, DropReason.WRONG_RUN),
        ({"round": 4}, DropReason.ROUND_PAST),
        ({"round": 0}, DropReason.ROUND_PAST),
        ({"round": 101}, DropReason.ROUND_AHEAD),
        ({"round": 2**32 - 1}, DropReason.ROUND_AHEAD),
        ({"round": 7, "value": float("nan")}, DropReason.NOT_FINITE),
    ):
        assert collected.add(make_fragment(0, **{"round": 5, **changes})) is reason
    assert collected.add(Fragment(7, 8, 99, np.ones(4, np.float32).tobytes())) is DropReason.BAD_FRAGMENT
    assert collected.rounds == []


def test_who_sees_nobody_takes_nothing(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect(others=[])
    assert collected.add(make_fragment(0, round=5)) is DropReason.OVER_COUNT
    assert (collected.expected(5), collected.received(5), collected.rounds) == (0, 0, [])


def test_who_is_not_seen_yet_may_be_heard(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect(others=[])
    collected.set_others(Others([]), members=2)
    assert feed(collected, make_fragment, 6, others=2) == [0] * 6
    assert collected.add(make_fragment(0, round=6)) is DropReason.OVER_COUNT
    collected.set_others(Others([1]), members=2)
    assert collected.received(6) == 3


def test_the_limit_never_shrinks(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    """Nor for rounds to come: who is back may be heard before it is seen."""
    collected = collect(others=[1, 1])
    collected.set_others(Others([]))
    assert feed(collected, make_fragment, 6, others=2) == [0] * 6
    assert collected.received(6) == 0
    collected.set_others(Others([1]))
    assert collected.received(6) == 3
    collected.set_others(Others([1, 1, 1]))
    assert feed(collected, make_fragment, 6, others=1) == [0] * 3


def test_the_rounds_go_by(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect()
    feed(collected, make_fragment, 5, others=1)
    feed(collected, make_fragment, 6, others=2)
    assert collected.take().received(4) == 3
    assert (collected.round, collected.rounds, collected.received(6)) == (6, [6], 6)
    assert collected.add(make_fragment(0, round=5)) is DropReason.ROUND_PAST
    assert collected.skip_to(9) == 6
    assert (collected.round, collected.rounds) == (9, [])
    assert collected.take().received(4) == 0


def test_after_the_last_round_everything_is_past(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect(round=100, stale="use", stale_rounds=3)
    collected.take()
    assert collected.add(make_fragment(0, round=100)) is DropReason.ROUND_PAST


# -- room -------------------------------------------------------------------------


def test_the_least_supported_gives_way(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect()
    feed(collected, make_fragment, 20, others=1, indices=2)
    feed(collected, make_fragment, 30, others=1, indices=2)
    feed(collected, make_fragment, 40, others=1, indices=1)
    assert collected.add(make_fragment(0, round=50)) == 1
    assert collected.rounds == [20, 30, 50]
    assert collected.add(make_fragment(0, round=15)) == 1
    assert collected.rounds == [15, 20, 30]
    collected.add(make_fragment(1, round=15))
    assert collected.add(make_fragment(0, round=25)) == 2  # of several, the farthest
    assert collected.rounds == [15, 20, 25]


def test_the_next_round_stays(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect()
    for number in (20, 30, 40):
        feed(collected, make_fragment, number, others=1, indices=1)
    assert collected.add(make_fragment(0, round=6)) == 1
    assert collected.rounds == [6, 20, 30]
    for number in range(50, 99):
        feed(collected, make_fragment, number, others=1, indices=2)
        assert collected.received(6) == 1


def test_what_the_others_have_left_behind_goes_first(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    """A slow peer trains while the others close one round after the other."""
    collected = collect()
    for number in (6, 7, 8):
        feed(collected, make_fragment, number, others=4)
    assert collected.add(make_fragment(0, round=9)) == 12
    assert collected.rounds == [6, 8, 9]
    assert collected.add(make_fragment(0, round=7)) is DropReason.ROUND_PAST
    assert collected.rounds == [6, 8, 9]
    for number in range(9, 60):
        feed(collected, make_fragment, number, others=3)
        assert collected.cohort_round() == number
        assert collected.rounds[-1] == number


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 3), st.booleans()), max_size=300))
def test_memory_is_bounded_and_nothing_gets_lost_without_a_word(moves: list[tuple[int, int, bool]]) -> None:
    layout = Layout(10, 4)
    spec = RunSpec(run_id="0" * 15 + "7" + "0" * 16, task="digits-cnn", rounds=25)
    collected = Collected(spec, layout, Others([1, 1, 3]), 1, encoding=Float32(16), slices=layout)
    kept = 0
    for number, index, forward in moves:
        if forward and collected.round <= spec.rounds:
            kept -= collected.take().fragments
        length = 2 if index == 2 else 4
        added = collected.add(Fragment(7, number, index, np.ones(length, np.float32).tobytes()))
        if not isinstance(added, DropReason):
            kept += 1 - added
        assert len(collected.rounds) <= 1 + AHEAD
        assert all(collected.round <= number <= spec.rounds for number in collected.rounds)
        assert all(collected.received(number) <= collected.expected(number) for number in range(1, 26))
    assert collected.skip_to(99) == kept


# -- where the others are -----------------------------------------------------------


def test_a_quorum_of_the_fragments_tells_where_the_others_are(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    """Half of 12 here."""
    collected = collect(quorum=0.5)
    feed(collected, make_fragment, 8, others=1)
    feed(collected, make_fragment, 9, others=1, indices=2)
    assert collected.cohort_round() is None
    collected.add(make_fragment(2, round=9))
    assert collected.cohort_round() == 8  # some are there and some beyond
    feed(collected, make_fragment, 9, others=1)
    assert collected.cohort_round() == 9


def test_the_present_round_says_nothing(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect()
    feed(collected, make_fragment, 5, others=4)
    assert collected.cohort_round() is None


def test_of_each_index_and_round_at_most_one_of_each_other_counts(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    collected = collect(others=[1, 1, 1, 0, 0], quorum=0.5)
    feed(collected, make_fragment, 8, others=5, indices=1)  # five times index 0: three, of nine expected
    assert collected.cohort_round() is None
    feed(collected, make_fragment, 8, others=1)
    assert collected.cohort_round() == 8


def test_nobody_is_where_nobody_contributes(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect(others=[0, 0, 9])
    feed(collected, make_fragment, 8, others=2)
    assert collected.cohort_round() is None
    feed(collected, make_fragment, 9, others=1)
    assert collected.cohort_round() == 9


@pytest.mark.parametrize("peers", range(2, 14))
def test_of_two_halves_exactly_one_moves(
    peers: int, collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    """All sizes: of those behind and those ahead, who sees a quorum where?"""
    for ahead in range(1, peers):
        behind = peers - ahead
        those_behind = collect(others=[1] * (peers - 1), quorum=0.5)
        feed(those_behind, make_fragment, 5, others=behind - 1)
        feed(those_behind, make_fragment, 9, others=ahead)
        jump = those_behind.cohort_round() == 9
        go_on = those_behind.received(5) >= 0.5 * those_behind.expected(5)

        those_ahead = collect(others=[1] * (peers - 1), round=9, quorum=0.5)
        feed(those_ahead, make_fragment, 9, others=ahead - 1)
        hold = those_ahead.received(9) < 0.5 * those_ahead.expected(9)
        assert jump or (go_on and hold), (behind, ahead)
        assert jump == (ahead >= (peers - 1) / 2)


# -- stale ones -----------------------------------------------------------------------


def test_stale_ones_are_used_up_to_their_age(collect: MakeCollected, make_fragment: MakeFragment) -> None:
    collected = collect(stale="use", stale_rounds=2)
    assert collected.add(make_fragment(0, 8.0, round=4)) == 0
    assert collected.add(make_fragment(0, 8.0, round=3)) == 0
    assert collected.add(make_fragment(0, 8.0, round=2)) is DropReason.ROUND_PAST
    assert collected.received(5) == 0
    mean = collected.take()
    assert mean.stale.tolist() == [2, 0, 0]
    np.testing.assert_array_equal(
        mean.result(lambda index: np.ones(4 if index < 2 else 2, np.float32), None),
        np.float32([4] * 4 + [1] * 6),
    )


def test_once_a_round_is_closed_its_late_ones_are_stale_in_the_next(
    collect: MakeCollected, make_fragment: MakeFragment
) -> None:
    collected = collect(stale="use")
    collected.take()
    assert collected.add(make_fragment(0, round=5)) == 0
    assert collected.take().stale.tolist() == [1, 0, 0]
