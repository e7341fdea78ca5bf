from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from peerd.errors import InvalidInputError
from peerd.training.loop import Trainer
from peerd.types import RunSpec

PEERS = 6
MakeTrainer = Callable[..., Trainer]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make(shard: int = 0, alive: Callable[[], None] = lambda: None, **changes: Any) -> Trainer:
    settings: dict[str, Any] = {
        "run_id": "0" * 32,
        "task": "digits-cnn",
        "local_epochs": 2,
        "learning_rate": 3e-3,
        **changes,
    }
    return Trainer(RunSpec(**settings), shard, PEERS, alive)


def test_all_peers_start_from_the_same_weights() -> None:
    first, second = make(shard=0).vector(), make(shard=5).vector()
    assert torch.equal(first, second)
    assert not torch.equal(first, make(seed=1).vector())


def test_training_learns_and_says_what_it_did() -> None:
    trainer = make()
    start = trainer.vector()
    before = trainer.evaluate(start, 0)
    vector, outcome = trainer.train(1, start)
    after = trainer.evaluate(vector, 0)
    assert before.accuracy < 0.3 < 0.6 < after.accuracy
    assert outcome.accuracy == after.accuracy
    assert (outcome.samples, after.samples) == (240, 360)
    assert 0.0 < outcome.loss < 2.5
    assert vector.isfinite().all() and vector.shape == start.shape


def test_a_restarted_trainer_trains_the_same_round_alike() -> None:
    trainer = make()
    vector, _ = trainer.train(1, trainer.vector())
    again, _ = make().train(1, make().vector())
    assert torch.equal(vector, again)


def test_rounds_and_peers_draw_different_samples() -> None:
    start = make().vector()
    vectors = [
        make(shard=shard, samples_per_round=64).train(number, start)[0]
        for shard, number in ((0, 1), (0, 2), (1, 1))
    ]
    assert not torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize(("asked", "used"), [(0, 240), (50, 50), (1_000, 240)])
def test_samples_per_round(asked: int, used: int) -> None:
    trainer = make(samples_per_round=asked, local_epochs=1)
    assert trainer.train(1, trainer.vector())[1].samples == used


@pytest.mark.parametrize(("asked", "used"), [(0, 360), (7, 7), (10_000, 360)])
def test_samples_of_an_evaluation(asked: int, used: int) -> None:
    trainer = make()
    assert trainer.evaluate(trainer.vector(), asked).samples == used


def test_evaluating_leaves_no_trace_in_training() -> None:
    one, other = make(), make()
    start = one.vector()
    one.evaluate(torch.zeros_like(start), 10)
    assert torch.equal(one.train(1, start)[0], other.train(1, start)[0])


def test_progress_is_told_in_training_and_in_evaluation() -> None:
    calls: list[None] = []
    trainer = make(alive=lambda: calls.append(None), local_epochs=1, test_samples=100)
    trainer.train(1, trainer.vector())
    assert len(calls) >= 8  # 240 samples in batches of 32, and one test batch
    calls.clear()
    trainer.evaluate(trainer.vector(), 0)
    assert len(calls) == 4


@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_shards_are_disjoint_and_complete(partition: str) -> None:
    trainers = [make(shard=shard, partition=partition) for shard in range(PEERS)]
    sizes = [len(trainer._data) for trainer in trainers]
    assert sum(sizes) == 1_437
    assert (max(sizes) - min(sizes) > 1) is (partition == "dirichlet")


def test_divergence_is_one_clear_line() -> None:
    trainer = make(learning_rate=10.0)
    start = trainer.vector()
    start[0] = float("inf")
    with pytest.raises(InvalidInputError, match="diverged in round 3; lower learning_rate"):
        trainer.train(3, start)


def test_unknown_tasks_and_too_many_peers() -> None:
    with pytest.raises(InvalidInputError, match="unknown task 'x'; known: digits-cnn, mnist-cnn"):
        make(task="x")
    with pytest.raises(InvalidInputError, match="cannot be divided"):
        Trainer(RunSpec(run_id="0" * 32, task="digits-cnn"), 0, 2_000, lambda: None)


def test_mnist_trains_on_its_files(mnist_dir: Path) -> None:
    trainer = make(task="mnist-cnn", data_dir=str(mnist_dir), local_epochs=4, batch_size=5)
    vector = trainer.vector()
    vector, outcome = trainer.train(1, vector)
    assert outcome.samples == 10
    assert outcome.loss < 2.3
    assert trainer.evaluate(vector, 0).samples == 20


def test_six_peers_learn_digits_by_averaging() -> None:
    """The target of `make demo`, with the task's defaults and no network: 0.93 after five rounds."""
    from peerd.learning import DEFAULTS

    trainers = [make(shard=shard, **DEFAULTS["digits-cnn"]) for shard in range(PEERS)]
    vector = trainers[0].vector()
    for number in range(1, 6):
        trained = [trainer.train(number, vector)[0] for trainer in trainers]
        vector = torch.stack(trained).mean(0)
    assert trainers[0].evaluate(vector, 0).accuracy > 0.96
