"""What a peer gives to one round."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.learning import Layout
from peerd.learning.actions import RoundsStatus, SendFragments, Stage
from peerd.learning.encoding import Float32
from peerd.learning.models import Models
from peerd.learning.own import Own, Trained
from peerd.types import RunSpec

BEFORE = RoundsStatus("running", 2, Stage.EXCHANGING, 3, 0, 1, 0, 5, 6, ())


@pytest.fixture(scope="session")
def make(layout: Layout, make_spec: Callable[..., RunSpec]) -> Callable[..., Own]:
    """For round 2."""

    def own(**spec: bool) -> Own:
        rng = random.Random(1)
        initial = np.zeros(layout.parameters, np.float32)
        models = Models(
            make_spec(**spec), layout, initial, encoding=Float32(16), slices=layout, based=True, rng=rng
        )
        return Own(2, layout, models, rng)

    return own


@given(finals=st.lists(st.sets(st.integers(0, 2)), max_size=4))
def test_every_fragment_is_sent_once(
    make: Callable[..., Own], layout: Layout, finals: list[set[int]]
) -> None:
    own, update = make(), np.arange(layout.parameters, dtype=np.float32)
    actions = [action for indices in finals for action in own.send(update, indices)]
    own.trained(update, Trained(0.1, 0.9, 10, 1.0))
    actions += own.send_all()
    sent = [index for action in actions if isinstance(action, SendFragments) for index in action.order]
    assert sorted(sent) == [0, 1, 2]
    assert own.send_all() == []
    again = own.again()
    assert again is not None and (again.round, sorted(again.order)) == (2, [0, 1, 2])
    assert own.counted is again.pieces


def test_before_training_it_counts_nothing_and_has_all_that_is_final(
    make: Callable[..., Own], layout: Layout
) -> None:
    own, update = make(), np.ones(layout.parameters, np.float32)
    assert own.again() is None and own.send_all() == []
    own.send(update, [2])
    again = own.again()
    assert again is not None and again.order == (2,)
    assert own.counted is None


def test_an_update_is_let_go_of_once_it_is_sent(make: Callable[..., Own], layout: Layout) -> None:
    """Of a large model, each vector counts."""
    own, update = make(delta=True), np.ones(layout.parameters, np.float32)
    own.trained(update, Trained(0.1, 0.9, 10, 1.0))
    held = weakref.ref(update)
    del update
    assert held() is not None
    own.send_all()
    assert held() is None


def test_the_result_says_how_training_went(make: Callable[..., Own], layout: Layout) -> None:
    own = make()
    own.trained(np.ones(layout.parameters, np.float32), Trained(0.5, 0.75, 40, 3.0, epsilon=2.0))
    own.gave_up += 1
    result = own.result("grace", BEFORE, 7.0, stale=1)
    assert (result.round, result.closed_by, result.exchange_seconds) == (2, "grace", 7.0)
    assert (result.train_loss, result.accuracy_local, result.train_samples) == (0.5, 0.75, 40)
    assert (result.train_seconds, result.epsilon, result.listened) == (3.0, 2.0, False)
    assert (result.cohort, result.fragments_received, result.fragments_expected) == (3, 5, 6)
    assert (result.gave_up, result.stale_fragments) == (1, 1)


def test_who_has_not_trained_has_listened(make: Callable[..., Own]) -> None:
    result = make().result("complete", BEFORE, 7.0, stale=0)
    assert (result.listened, result.train_samples, result.epsilon) == (True, 0, None)
