"""A run's learner with the shipped tasks: found, given its share, trained, measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peerd.errors import InvalidInputError
from peerd.training.session import form_of, open_learner
from peerd.training.task import Host, Learner
from peerd.types import RunSpec

PEERS = 6


def make(
    shard: int = 0, alive: Callable[[], None] = lambda: None, shards: int = PEERS, **changes: Any
) -> Learner:
    settings: dict[str, Any] = {
        "run_id": "0" * 32,
        "task": "digits-cnn",
        "local_epochs": 2,
        "learning_rate": 3e-3,
        **changes,
    }
    return open_learner(RunSpec(**settings), shard, shards, Host(alive=alive))


def same(one: Any, other: Any) -> bool:
    return np.array_equal(one, other)


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp"])
def test_all_peers_start_from_the_same_weights(task: str) -> None:
    first, second = make(task=task, shard=0).vector(), make(task=task, shard=5).vector()
    assert same(first, second)
    assert not same(first, make(task=task, seed=1).vector())


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp"])
def test_training_learns_and_says_what_it_did(task: str) -> None:
    learner = make(task=task)
    start = learner.vector()
    before = learner.evaluate(start, 0)
    vector, outcome = learner.train(1, start)
    after = learner.evaluate(vector, 0)
    assert before.accuracy < 0.3 < 0.6 < after.accuracy
    assert outcome.accuracy == after.accuracy
    assert (outcome.samples, after.samples) == (240, 360)
    assert 0.0 < outcome.loss < 2.5
    assert np.isfinite(vector).all() and vector.shape == start.shape
    assert same(start, make(task=task).vector())  # what it was given stays as it was


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp", "synthetic"])
def test_a_restarted_learner_trains_the_same_round_alike(task: str) -> None:
    learner = make(task=task)
    vector, _ = learner.train(1, learner.vector())
    again, _ = make(task=task).train(1, make(task=task).vector())
    assert same(vector, again)


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp", "synthetic"])
def test_rounds_and_peers_draw_different_samples(task: str) -> None:
    start = make(task=task).vector()
    vectors = [
        make(task=task, shard=shard, samples_per_round=64).train(number, start)[0]
        for shard, number in ((0, 1), (0, 2), (1, 1))
    ]
    assert not same(vectors[0], vectors[1])
    assert not same(vectors[0], vectors[2])


@pytest.mark.parametrize(("asked", "used"), [(0, 240), (50, 50), (1_000, 240)])
def test_samples_per_round(asked: int, used: int) -> None:
    learner = make(samples_per_round=asked, local_epochs=1)
    assert learner.train(1, learner.vector())[1].samples == used


@pytest.mark.parametrize(("asked", "used"), [(0, 360), (7, 7), (10_000, 360)])
def test_samples_of_an_evaluation(asked: int, used: int) -> None:
    learner = make()
    assert learner.evaluate(learner.vector(), asked).samples == used


def test_evaluating_leaves_no_trace_in_training() -> None:
    one, other = make(), make()
    start = one.vector()
    one.evaluate(np.zeros_like(start), 10)
    assert same(one.train(1, start)[0], other.train(1, start)[0])


def test_progress_is_told_in_training_and_in_evaluation() -> None:
    calls: list[None] = []
    learner = make(alive=lambda: calls.append(None), local_epochs=1, test_samples=100)
    learner.train(1, learner.vector())
    assert len(calls) >= 8  # 240 samples in batches of 32, and one test batch
    calls.clear()
    learner.evaluate(learner.vector(), 0)
    assert len(calls) == 4


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "quantity"])
def test_shards_are_disjoint_and_complete(partition: str) -> None:
    learners = [make(task="synthetic", shard=shard, partition=partition) for shard in range(PEERS)]
    sizes = [learner.train(1, learner.vector())[1].samples for learner in learners]
    assert sum(sizes) == 6_000
    assert (max(sizes) - min(sizes) > 1) is (partition != "iid")


def test_divergence_is_one_clear_line() -> None:
    learner = make(learning_rate=10.0)
    start = learner.vector()
    start[0] = float("inf")
    with pytest.raises(InvalidInputError, match="diverged in round 3; lower learning_rate"):
        learner.train(3, start)


def test_unknown_tasks_and_too_many_peers() -> None:
    with pytest.raises(InvalidInputError, match="unknown task 'x'; known: digits-cnn, mnist-cnn"):
        make(task="x")
    with pytest.raises(InvalidInputError, match="cannot be divided"):
        make(shards=2_000)


def test_mnist_trains_on_its_files(mnist_dir: Path) -> None:
    learner = make(task="mnist-cnn", data_dir=str(mnist_dir), local_epochs=4, batch_size=5)
    vector = learner.vector()
    vector, outcome = learner.train(1, vector)
    assert outcome.samples == 10
    assert outcome.loss < 2.3
    assert learner.evaluate(vector, 0).samples == 20


def test_six_peers_learn_digits_by_averaging() -> None:
    """The target of `make demo`, with the task's defaults and no network: 0.93 after five rounds."""
    from peerd.presets import TASK_DEFAULTS

    learners = [make(shard=shard, **TASK_DEFAULTS["digits-cnn"]) for shard in range(PEERS)]
    vector = learners[0].vector()
    for number in range(1, 6):
        trained = [learner.train(number, vector)[0] for learner in learners]
        vector = np.mean(trained, 0, dtype=np.float64).astype(np.float32)
    assert learners[0].evaluate(vector, 0).accuracy > 0.96


@pytest.mark.parametrize("task", ["digits-cnn", "digits-mlp", "synthetic"])
def test_all_peers_know_one_form_of_a_model_and_each_model_has_its_own(task: str) -> None:
    form = form_of(make(task=task, shard=0))
    assert len(form) == 8
    assert form == form_of(make(task=task, shard=5, seed=1)), "not of its values"
    others = {
        form_of(make(task=other)) for other in ("digits-cnn", "digits-mlp", "synthetic") if other != task
    }
    assert form not in others


def test_a_learner_may_say_nothing_of_its_form_or_nonsense() -> None:
    """It then is its sizes."""

    class Bare:
        exact = 0

        def vector(self) -> Any:
            return np.zeros(3, np.float32)

    silent, odd, speaking = Bare(), Bare(), Bare()
    odd.form = 7  # type: ignore[attr-defined]
    speaking.form = "a[3]"  # type: ignore[attr-defined]
    assert form_of(silent) == form_of(odd) != form_of(speaking)  # type: ignore[arg-type]
