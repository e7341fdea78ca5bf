"""What the others are told of when this peer contributes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peerd.learning.actions import Contribute
from peerd.learning.contribution import Contribution
from peerd.types import RunSpec


@pytest.fixture
def contribution(make_spec: Callable[..., RunSpec]) -> Contribution:
    """To a run of 3 rounds."""
    return Contribution(make_spec(rounds=3))


def test_it_is_told_once(contribution: Contribution) -> None:
    assert not contribution.includes(1)
    assert contribution.begin(1) == [Contribute(1)]
    assert contribution.begin(1) == contribution.begin(2) == []
    assert contribution.includes(1) and contribution.includes(2)


def test_who_listens_contributes_from_the_next_round_on_if_it_has_a_model(contribution: Contribution) -> None:
    assert contribution.resume_after(1, based=True) == [Contribute(2)]
    assert not contribution.includes(1)
    assert contribution.begin(2) == []
    assert contribution.resume_after(2, based=False) == [Contribute(0)]
    assert contribution.resume_after(3, based=True) == []  # there is no round after it


def test_who_ends_early_is_waited_for_in_that_round_alone(contribution: Contribution) -> None:
    contribution.begin(1)
    assert contribution.end(2, trained=True) == [Contribute(-2)]
    assert contribution.from_round == 2


def test_who_has_given_nothing_to_its_last_round_is_not_waited_for(contribution: Contribution) -> None:
    contribution.begin(1)
    assert contribution.end(2, trained=False) == [Contribute(0)]
    assert contribution.end(3, trained=False) == []


def test_who_is_behind_waits_for_it_in_the_last_round_alone(contribution: Contribution) -> None:
    contribution.begin(1)
    assert contribution.end(3, trained=True) == [Contribute(3)]
