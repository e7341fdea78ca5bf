"""When a round that is waited for ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.learning.waiting import Standing, Waiting
from peerd.types import RunSpec

GRACE, TIMEOUT = 10.0, 60.0

standings = st.builds(
    lambda received, enough, none_missing, lost: Standing(
        round=1,
        received=received,
        quorum=received >= 3,
        enough=received >= 3 and enough,
        none_missing=received >= 3 and enough and none_missing,
        lost=lost,
    ),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


def standing(
    received: int = 0, *, quorum: bool = False, enough: bool = False, lost: bool = False
) -> Standing:
    return Standing(1, received, quorum=quorum, enough=enough, none_missing=enough, lost=lost)


@pytest.fixture(scope="session")
def make(make_spec: Callable[..., RunSpec]) -> Callable[[], Waiting]:
    """It waits since 100 s."""
    spec = make_spec(grace_seconds=GRACE, round_timeout_seconds=TIMEOUT)
    return lambda: Waiting(spec, 100.0)


def test_all_that_there_can_be_is_waited_for_no_longer(make: Callable[[], Waiting]) -> None:
    assert make().verdict(standing(6, quorum=True, enough=True), 100.0) == "complete"


def test_grace_runs_from_the_quorum_on_and_ends_with_it(make: Callable[[], Waiting]) -> None:
    waiting = make()
    assert waiting.verdict(standing(3, quorum=True), 105.0) == ""
    assert waiting.deadline == 115.0
    assert waiting.verdict(standing(3, quorum=False), 110.0) == ""  # more are expected now
    assert waiting.deadline == 160.0
    assert waiting.verdict(standing(4, quorum=True), 120.0) == ""
    assert waiting.verdict(standing(4, quorum=True), 129.9) == ""
    assert waiting.verdict(standing(4, quorum=True), 130.0) == "grace"


def test_no_grace_for_a_round_that_leads_to_no_model(make: Callable[[], Waiting]) -> None:
    waiting = make()
    assert waiting.verdict(standing(3, quorum=True, lost=True), 105.0) == ""
    assert waiting.deadline == 160.0
    assert waiting.verdict(standing(3, quorum=True, lost=True), 160.0) == "timeout"


def test_what_may_still_come_is_waited_for_as_long_again(make: Callable[[], Waiting]) -> None:
    waiting = make()
    enough = Standing(1, 4, quorum=True, enough=True, none_missing=False, lost=False)
    waiting.came(1, 101.0, [1], enough=False)
    waiting.came(1, 104.0, [1], enough=True)
    assert waiting.verdict(enough, 104.0) == ""
    assert waiting.deadline == 107.0
    assert waiting.verdict(enough, 107.0) == "complete"


def test_begun_again_it_has_all_its_time(make: Callable[[], Waiting]) -> None:
    waiting = make()
    waiting.verdict(standing(3, quorum=True), 105.0)
    waiting.begin(200.0)
    assert (waiting.since, waiting.deadline) == (200.0, 260.0)


@given(steps=st.lists(st.tuples(st.floats(0.0, 20.0), standings), min_size=1, max_size=12))
def test_without_a_verdict_there_is_one_at_the_deadline(
    make: Callable[[], Waiting], steps: list[tuple[float, Standing]]
) -> None:
    """Whatever came before: an early tick changes nothing, one at the deadline ends the round."""
    waiting, now, quorum_since = make(), 100.0, 0.0
    had = False
    for seconds, stands in steps:
        now += seconds
        waiting.came(1, now, [1], enough=stands.enough)
        graced = stands.quorum and not stands.lost
        quorum_since = quorum_since if had else now
        had = graced
        by = waiting.verdict(stands, now)
        if by:
            break
        assert now < waiting.deadline <= 100.0 + TIMEOUT
        assert waiting.verdict(stands, now) == ""
    else:
        now = waiting.deadline
        by = waiting.verdict(stands, now)
    assert by
    assert by != "complete" or stands.enough
    assert by != "timeout" or now >= 100.0 + TIMEOUT
    assert by != "grace" or (graced and now >= quorum_since + GRACE)
