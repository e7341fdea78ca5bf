"""A learner of a host's own is held to its contract: whatever it does, the user gets one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.errors import InvalidInputError
from peerd.training import Outcome, Samples, Share, session
from peerd.training.session import open_learner
from peerd.types import RunSpec

GOOD = np.zeros(3, np.float32)


class Custom:
    """A learner and its task in one; what is given replaces what is well."""

    def __init__(self, **bad: Any) -> None:
        self.bad = bad
        self.classes = bad.get("classes", 2)
        self.share: Share | None = None

    def data(self) -> Any:
        samples = Samples(np.arange(20.0)[:, None], np.arange(20) % 2)
        return self.bad.get("data", (samples, samples.take(np.arange(4))))

    def learner(self, share: Share) -> Custom:
        self.share = share
        if "learner" in self.bad:
            raise self.bad["learner"]
        return self

    def vector(self) -> Any:
        return self.bad.get("vector", GOOD)

    def train(self, round: int, vector: Any) -> Any:
        return self.bad.get("trained", GOOD), Outcome(self.bad.get("loss", 0.0), 0.5, 1, 0.0)

    def evaluate(self, vector: Any, samples: int) -> Outcome:
        if "evaluate" in self.bad:
            raise self.bad["evaluate"]
        return Outcome(0.0, self.bad.get("accuracy", 0.5), 1, 0.0)


Open = Callable[..., Any]


@pytest.fixture
def open_custom(monkeypatch: pytest.MonkeyPatch) -> Open:
    def open_it(task: Custom, shard: int = 0, shards: int = 2, **changes: Any) -> Any:
        monkeypatch.setattr(session, "make_task", lambda spec, allowed: task)
        return open_learner(RunSpec(run_id="0" * 32, task="m:f", **changes), shard, shards)

    return open_it


def test_a_good_one_passes(open_custom: Open) -> None:
    learner = open_custom(Custom())
    assert learner.train(1, learner.vector())[1].accuracy == learner.evaluate(GOOD, 0).accuracy == 0.5


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"vector": [0.0]}, "must be a NumPy array of float32"),
        ({"vector": np.zeros(3)}, "must be a NumPy array of float32"),
        ({"vector": np.zeros((3, 1), np.float32)}, "one dimension"),
        ({"vector": np.zeros(0, np.float32)}, "0 parameters; 1 to "),
        ({"vector": GOOD + np.float32("nan")}, "NaN or infinity in the initial model"),
        ({"learner": KeyError("x")}, "its learner: KeyError: 'x'"),
        ({"data": 7}, r"data\(\) must return two Samples|its data: TypeError"),
        ({"data": (1, 2)}, r"data\(\) must return two Samples"),
        (
            {"data": (Samples(np.zeros((2, 1)), np.array([0, 5])),) * 2},
            "training data: label 5; labels go from",
        ),
    ],
)
def test_what_is_wrong_at_the_start(open_custom: Open, bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^task 'm:f'.*({says})") as raised:
        open_custom(Custom(**bad))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"trained": np.zeros(4, np.float32)}, "task 'm:f': training made 4 parameters of 3"),
        ({"trained": GOOD + np.float32("inf")}, "training diverged in round 1; lower learning_rate"),
        ({"loss": math.nan}, "training diverged in round 1; lower learning_rate"),
    ],
)
def test_what_is_wrong_in_training(open_custom: Open, bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        open_custom(Custom(**bad)).train(1, GOOD)


def test_what_is_wrong_in_evaluation(open_custom: Open) -> None:
    with pytest.raises(InvalidInputError, match="task 'm:f': its metric is nan"):
        open_custom(Custom(accuracy=math.nan)).evaluate(GOOD, 0)
    with pytest.raises(InvalidInputError, match="task 'm:f': evaluation: ZeroDivisionError"):
        open_custom(Custom(evaluate=ZeroDivisionError())).evaluate(GOOD, 0)


def given_to(open_custom: Open, **changes: Any) -> Share:
    task = Custom()
    open_custom(task, **changes)
    assert task.share is not None
    return task.share


def test_the_held_out_samples_are_the_peers_own_and_not_trained_on(open_custom: Open) -> None:
    whole = given_to(open_custom, shard=1)
    assert (len(whole.train), len(whole.test)) == (10, 4)
    share = given_to(open_custom, shard=1, evaluation="holdout", holdout=0.3)
    assert (len(share.train), len(share.test)) == (7, 3)
    both = np.concatenate([share.train.features, share.test.features])
    np.testing.assert_array_equal(np.sort(both, axis=0), whole.train.features)
    again = given_to(open_custom, shard=1, evaluation="holdout", holdout=0.3)
    np.testing.assert_array_equal(share.test.features, again.test.features)


@pytest.mark.parametrize(("holdout", "held"), [(1e-6, 1), (0.999, 9)])
def test_something_is_left_on_both_sides(open_custom: Open, holdout: float, held: int) -> None:
    assert len(given_to(open_custom, evaluation="holdout", holdout=holdout).test) == held


def test_one_sample_cannot_be_held_out(open_custom: Open) -> None:
    with pytest.raises(InvalidInputError, match="evaluation holdout: this peer has one sample"):
        open_custom(Custom(), shards=20, evaluation="holdout")


def test_own_data_are_not_divided(open_custom: Open) -> None:
    assert len(given_to(open_custom, shard=1, partition="own").train) == 20


def test_labels_that_are_no_classes_cannot_be_divided_by_class(open_custom: Open) -> None:
    for partition in ("dirichlet", "shards"):
        with pytest.raises(
            InvalidInputError, match=f"partition {partition}: this task's labels are no classes"
        ):
            open_custom(Custom(classes=0), partition=partition)
    open_custom(Custom(classes=0), partition="quantity")
