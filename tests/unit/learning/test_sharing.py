"""To whom slices of a model are sent."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from peerd.learning import Layout
from peerd.learning.actions import SendModel
from peerd.learning.collect import Collected, Others
from peerd.learning.encoding import Float32
from peerd.learning.models import Models
from peerd.learning.sharing import Sharing
from peerd.types import RunSpec


@pytest.fixture
def make(layout: Layout, make_spec: Callable[..., RunSpec]) -> Callable[..., Sharing]:
    """In a run of 3 rounds. others: when they begin to contribute."""

    def sharing(*others: int, delta: bool = True, based: bool = True) -> Sharing:
        spec = make_spec(delta=delta)
        initial, rng = np.zeros(layout.parameters, np.float32), random.Random(1)
        models = Models(spec, layout, initial, encoding=Float32(16), slices=layout, based=based, rng=rng)
        collected = Collected(spec, layout, Others(others), 1, encoding=Float32(16), slices=layout)
        return Sharing(spec, models, collected)

    return sharing


def test_all_have_the_model_that_a_run_starts_from(make: Callable[..., Sharing]) -> None:
    assert make(0).base(1) == []


def test_who_only_listens_gets_the_base(make: Callable[..., Sharing]) -> None:
    [shared] = make(0).base(2)
    assert isinstance(shared, SendModel)
    assert (shared.round, sorted(shared.newcomers)) == (2, [0, 1, 2])  # there is nobody else to give it


def test_who_contributes_gets_no_more_than_what_is_against_drift(make: Callable[..., Sharing]) -> None:
    [shared] = make(1).base(2)
    assert isinstance(shared, SendModel)
    assert shared.newcomers == () and len(shared.everyone) == 1


def test_the_last_model_is_for_who_listens_in_the_runs_last_round(make: Callable[..., Sharing]) -> None:
    [last] = make(0).end(3)
    assert isinstance(last, SendModel)
    assert (last.round, sorted(last.newcomers)) == (4, [0, 1, 2])
    assert make(0).end(2) == make(1).end(3) == []


def test_a_newcomer_gets_the_base_or_after_the_end_the_last_model(make: Callable[..., Sharing]) -> None:
    base, last = make(0).to_newcomer(1), make(0).to_newcomer(4)
    assert base is not None and (base.round, sorted(base.newcomers)) == (1, [0, 1, 2])
    assert last is not None and (last.round, sorted(last.newcomers)) == (4, [0, 1, 2])


@pytest.mark.parametrize("lacks", [{"delta": False}, {"based": False}])
def test_nothing_is_given_where_nobody_needs_it_or_there_is_nothing(
    make: Callable[..., Sharing], lacks: dict[str, bool]
) -> None:
    sharing = make(0, **lacks)
    assert sharing.base(2) == sharing.end(3) == []
    assert sharing.to_newcomer(2) is sharing.to_newcomer(4) is None
