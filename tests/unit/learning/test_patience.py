"""Fragments that may come or may not: how long a round waits for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.learning import Fragment, Layout, Rounds
from peerd.learning.actions import RoundClosed
from peerd.learning.dealing import deal, expected_parts, least_part, most_parts
from peerd.learning.patience import Patience
from peerd.types import RunSpec


def test_the_rest_gets_as_long_again_as_enough_took() -> None:
    patience = Patience(10.0)
    patience.came(3, 100.0, [3], enough=False)
    patience.came(3, 101.0, [3], enough=False)
    patience.came(3, 104.0, [3], enough=True)
    patience.came(3, 106.0, [3], enough=True)
    assert patience.ends_at(3, 107.0) == 108.0


def test_it_has_a_limit_and_what_came_at_once_is_not_waited_for() -> None:
    patience = Patience(10.0)
    patience.came(1, 100.0, [1, 2], enough=False)
    patience.came(1, 130.0, [1, 2], enough=True)
    assert patience.ends_at(1, 131.0) == 140.0
    patience.came(2, 150.0, [2], enough=True)
    assert patience.ends_at(2, 151.0) == 150.0


def test_enough_may_be_there_because_less_is_expected() -> None:
    patience = Patience(10.0)
    patience.came(1, 100.0, [1], enough=False)
    assert patience.ends_at(1, 102.0) == patience.ends_at(1, 103.0) == 104.0
    assert patience.ends_at(2, 105.0) == 105.0  # nothing has come of it, nor is anything expected


def test_rounds_that_are_not_kept_are_forgotten() -> None:
    patience = Patience(10.0)
    for number in range(1, 1000):
        patience.came(number, float(number), [number, number - 1], enough=True)
    assert len(patience._first) == len(patience._enough) == 2


@pytest.mark.parametrize("copies", [1, 4, 7, 8])
@pytest.mark.parametrize("fragments", [3, 8, 10])
def test_most_is_the_most_that_is_dealt(fragments: int, copies: int) -> None:
    others = 8
    most, rng = most_parts(fragments, others, copies, senders=1), random.Random(1)
    hands = [len(hand) for _, hand in deal(range(others), range(fragments), copies, rng)]
    assert max(hands) == most and min(hands) == least_part(fragments, others, copies)
    assert (
        most_parts(fragments, others, copies, 5) == 5 * most >= expected_parts(fragments, others, copies, 5)
    )


@pytest.fixture
def begin(layout: Layout, make_spec: Callable[..., RunSpec]) -> Callable[..., Rounds]:
    """Eight others, each of whom sends each of us one fragment of three, or none: six are sure to be two."""

    def make(**spec: Any) -> Rounds:
        fields = {"rounds": 5, "dissemination": "random-k", "fanout": 2, "grace_seconds": 10.0, **spec}
        rounds = Rounds(make_spec(**fields), layout, layout_zeros(layout), [1] * 8, 0.0, random.Random(1))
        rounds.start(0.0)
        rounds.trained(layout_zeros(layout), 0.1, 0.9, 10, 1.0)
        return rounds

    return make


def layout_zeros(layout: Layout) -> Any:
    return np.zeros(layout.parameters, np.float32)


def test_a_round_waits_for_the_slower_ones(
    begin: Callable[..., Rounds], make_fragment: Callable[..., Fragment]
) -> None:
    rounds = begin()
    enough = rounds.status.fragments_expected
    assert 1 < enough < 6
    for number in range(enough):
        assert rounds.fragment(make_fragment(number % 3, 1.0, round=1), 2.0 + number) == []
    ends = 2.0 + 2 * (enough - 1)
    assert rounds.next_deadline() == ends
    assert rounds.tick(ends - 0.01) == []
    assert rounds.fragment(make_fragment(2, 1.0, round=1), ends - 0.01) == []  # one of those
    closed, *_ = rounds.tick(ends)
    assert isinstance(closed, RoundClosed) and closed.result.closed_by == "complete"


def test_a_round_of_which_nothing_can_be_missing_waits_for_nobody(
    begin: Callable[..., Rounds], make_fragment: Callable[..., Fragment]
) -> None:
    rounds = begin()
    closed: list[Any] = []
    for number in range(8):
        assert not closed
        at = 2.0 + 3.0 * min(number, rounds.status.fragments_expected - 1)
        closed = rounds.fragment(make_fragment(number % 3, 1.0, round=1), at)
    assert isinstance(closed[0], RoundClosed)


def test_who_is_slower_than_all_others_waits_no_longer_than_they(
    begin: Callable[..., Rounds], make_fragment: Callable[..., Fragment]
) -> None:
    """Everything of its next round has come, and been waited for, before it has trained."""
    rounds = begin()
    for number in range(8):
        rounds.fragment(make_fragment(number % 3, 1.0, round=1), 2.0)
    rounds.evaluated(0.5, 10, 3.0)
    for number in range(4):
        rounds.fragment(make_fragment(number % 3, 1.0, round=2), 4.0 + number)
    _, closed, *_ = rounds.trained(layout_zeros(rounds._layout), 0.1, 0.9, 10, 30.0)
    assert isinstance(closed, RoundClosed) and closed.result.closed_by == "complete"
