from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from peerd.errors import InvalidInputError
from peerd.layout import Layout
from peerd.training import Host, Samples, Share
from peerd.training.torchtask import TorchOptimizer, TorchTask, pick_device
from peerd.types import RunSpec

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(200, 4)).astype(np.float32)
SIDES = (POINTS[:, 0] + POINTS[:, 1] > 0).astype(np.int64)
DATA = Samples(POINTS, SIDES)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def task(**changes: Any) -> TorchTask:
    return TorchTask(**{"model": model, "data": lambda: (DATA, DATA), "classes": 2, **changes})


def learner(made: TorchTask, train: Samples = DATA, **changes: Any) -> Any:
    spec = RunSpec(run_id="0" * 32, task="m:f", **{"learning_rate": 0.05, "local_epochs": 5, **changes})
    return made.learner(Share(spec=spec, shard=0, train=train, test=DATA, host=Host("cpu")))


@pytest.mark.parametrize(
    "optimizer", [TorchOptimizer.of(torch.optim.SGD, momentum=0.9), TorchOptimizer.of(torch.optim.AdamW)]
)
def test_torchs_own_optimizers_train(optimizer: Any) -> None:
    one = learner(task(optimizer=optimizer))
    _, outcome = one.train(1, one.vector())
    assert outcome.accuracy > 0.9


def test_sgd_is_sgd_and_follows_the_schedule() -> None:
    """With one batch a step is exactly rate x gradient: twice a tenth of it in the second round."""
    made = task(optimizer=TorchOptimizer.of(torch.optim.SGD))
    moved = []
    for number in (1, 2):
        one = learner(made, local_epochs=1, batch_size=1000, schedule="step", decay=0.1, decay_rounds=1)
        start = one.vector()
        moved.append(one.train(number, start)[0] - start)
    np.testing.assert_allclose(moved[0] * 0.1, moved[1], rtol=1e-3, atol=1e-7)


def test_batches_instead_of_epochs() -> None:
    calls: list[None] = []
    spec = RunSpec(run_id="0" * 32, task="m:f", local_batches=3, test_samples=1)
    host = Host("cpu", alive=lambda: calls.append(None))
    one = task().learner(Share(spec=spec, shard=0, train=DATA, test=DATA, host=host))
    one.train(1, one.vector())
    assert len(calls) == 3 + 1


WEIGHTS = 4 * 8 + 8 + 8 + 8 + 8 * 2 + 2


class Taken:
    """A stream that keeps what it is given, and how many batches had been done by then."""

    def __init__(self, block: int) -> None:
        self.layout = Layout(WEIGHTS + 2 * 8, block) if block else None
        self.fragments = self.layout.fragments if self.layout else 0
        self.batches = 0
        self.put_after: dict[int, int] = {}
        self.values: dict[int, np.ndarray] = {}

    def slice(self, index: int) -> slice:
        assert self.layout is not None
        return self.layout.slice(index)

    def put(self, index: int, values: np.ndarray) -> None:
        assert index not in self.values
        self.put_after[index] = self.batches
        self.values[index] = np.array(values)

    def alive(self) -> None:
        self.batches += 1


def streamed(block: int, **changes: Any) -> tuple[np.ndarray, Taken, Any]:
    taken = Taken(block)
    spec = RunSpec(run_id="0" * 32, task="m:f", **{"local_batches": 10, "test_samples": 1, **changes})
    momentum = TorchOptimizer.of(torch.optim.SGD, momentum=0.9)
    host = Host("cpu", alive=taken.alive, stream=taken)
    norm = lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))  # noqa: E731
    made = task(optimizer=momentum, model=norm)
    one = made.learner(Share(spec=spec, shard=0, train=DATA, test=DATA, host=host))
    trained, outcome = one.train(1, one.vector())
    return trained, taken, outcome


@pytest.mark.parametrize("block", [1, 7, 30, 1000])
@pytest.mark.parametrize("streaming", [0.0, 0.5, 1.0])
def test_what_is_called_final_is_what_comes_out(block: int, streaming: float) -> None:
    """Whatever the optimiser goes on doing, and though statistics are taken at the end."""
    trained, taken, _ = streamed(block, streaming=streaming)
    together = np.concatenate([taken.values[index] for index in range(-(-len(trained) // block))])
    np.testing.assert_array_equal(together, trained)


def test_fragments_become_final_over_the_last_batches_alone() -> None:
    trained, taken, _ = streamed(1, streaming=0.5)
    after = [taken.put_after[index] for index in range(len(trained))]
    assert min(after) == 5 and len({when for when in after if when < 9}) == 4
    assert all(when == 10 for when in after[WEIGHTS:]), "statistics are known at the end"


def test_with_nothing_frozen_the_model_is_as_if_nothing_were_streamed() -> None:
    plain = streamed(0)[0]
    np.testing.assert_array_equal(streamed(5, streaming=0.0)[0], plain)
    assert not np.array_equal(streamed(5, streaming=1.0)[0], plain)


def test_numbers_can_be_learned_with_a_loss_and_a_metric_of_ones_own() -> None:
    def near(output: Tensor, labels: Tensor) -> Tensor:
        return (output[:, 0] - labels).abs() < 0.5

    sums = Samples(POINTS, POINTS.sum(1))
    made = TorchTask(
        model=lambda: nn.Linear(4, 1), data=lambda: (sums, sums), classes=0, metric=near,
        loss=lambda output, labels: nn.functional.mse_loss(output[:, 0], labels),
    )  # fmt: skip
    spec = RunSpec(run_id="0" * 32, task="m:f", learning_rate=0.1, local_epochs=20)
    one = made.learner(Share(spec=spec, shard=0, train=sums, test=sums))
    _, outcome = one.train(1, one.vector())
    assert outcome.accuracy > 0.9 and outcome.loss < 0.2


def test_dropout_is_the_same_when_a_round_is_trained_again() -> None:
    made = task(model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2)))
    first = learner(made)
    start = first.vector()
    vector, _ = first.train(1, start)
    torch.rand(7)
    np.testing.assert_array_equal(learner(made).train(1, start)[0], vector)


def test_tokens_stay_whole_numbers() -> None:
    words = Samples(np.arange(40).reshape(10, 4) % 5, np.arange(10) % 2)
    made = task(model=lambda: nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2)))
    spec = RunSpec(run_id="0" * 32, task="m:f")
    one = made.learner(Share(spec=spec, shard=0, train=words, test=words))
    assert np.isfinite(one.train(1, one.vector())[0]).all()


def test_bytes_become_floats() -> None:
    pixels = Samples((np.arange(40).reshape(10, 4) % 256).astype(np.uint8), np.arange(10) % 2)
    one = learner(task(), train=pixels)
    assert one.train(1, one.vector())[1].samples == 10


def test_a_model_that_is_none_and_a_metric_that_sums() -> None:
    with pytest.raises(InvalidInputError, match=r"'m:f': model\(\) returned int, not a torch.nn.Module"):
        learner(task(model=lambda: 7))
    one = learner(task(metric=lambda output, labels: (output.argmax(1) == labels).sum()))
    with pytest.raises(InvalidInputError, match="its metric must give one number for each sample"):
        one.evaluate(one.vector(), 0)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device(Host("auto")).type == pick_device(Host("cpu")).type == "cpu"
    with pytest.raises(InvalidInputError, match=r"'cuda' is not there; .* may be auto, cpu$"):
        pick_device(Host("cuda"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device(Host("auto")).type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device(Host("auto")).type == "cuda"
    assert pick_device(Host("mps")).type == "mps"
