"""Training and measuring one model, from top to bottom.

Deterministic: the run's seed makes the initial weights, the division of the data and every round's
batches, so a trainer that was killed and started again trains the same round on the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from peerd.errors import InvalidInputError
from peerd.training.adam import Adam
from peerd.training.flat import FlatModel
from peerd.training.partition import dirichlet, iid
from peerd.training.tasks import TASKS, Samples
from peerd.types import RunSpec

TEST_BATCH = 100
STATISTICS_SAMPLES = 256
"""That batch normalisation's statistics are taken from after training."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    loss: float
    """Mean over the batches of the last epoch."""
    accuracy: float
    samples: int
    """Drawn from the shard for this round."""
    seconds: float


class Trainer:
    """One peer's model, optimiser and part of the data, for a whole run."""

    def __init__(self, spec: RunSpec, shard: int, shards: int, alive: Callable[[], None]) -> None:
        """Raises InvalidInputError or NotFoundError when the data cannot be used.

        alive: called after every batch, to tell the daemon that work goes on.
        """
        self._spec = spec
        self._shard = shard
        self._alive = alive
        if spec.task not in TASKS:
            raise InvalidInputError(f"unknown task {spec.task!r}; known: {', '.join(TASKS)}")
        self._task = TASKS[spec.task]
        train, test = self._task.load(spec.data_dir)
        self._data = train.take(_division(spec, train, shards)[shard])
        # Not the first ones: MNIST's test set has its easy writers in front.
        self._test = test.take(np.random.default_rng(0).permutation(len(test)))
        torch.manual_seed(spec.seed)
        self._model = FlatModel(self._task.build())
        # Kept from round to round: measured in README.md.
        self._adam = Adam(self._model.weights, self._model.gradient, spec.learning_rate)

    def vector(self) -> Tensor:
        """Before the first round, the model that all peers start from. Shape (parameters,)."""
        return self._model.vector()

    def train(self, round_number: int, vector: Tensor) -> tuple[Tensor, Outcome]:
        """One round from `vector`. Returns the trained vector.

        Raises InvalidInputError when training diverges.
        """
        began = time.monotonic()
        spec, data = self._spec, self._data
        rng = np.random.default_rng([spec.seed, round_number, self._shard])
        chosen = rng.choice(len(data), _up_to(spec.samples_per_round, len(data)), replace=False)
        self._model.load(vector)
        self._model.module.train()
        losses: list[float] = []
        for _ in range(spec.local_epochs):
            losses.clear()
            for batch in _batches(rng.permutation(chosen), spec.batch_size):
                losses.append(self._step(batch))
                self._alive()
        self._take_statistics(chosen[:STATISTICS_SAMPLES])
        trained = self._model.vector()
        if not trained.isfinite().all():
            raise InvalidInputError(
                f"training diverged in round {round_number}; lower learning_rate (now {spec.learning_rate:g})"
            )
        accuracy, _ = self._accuracy(spec.test_samples)
        seconds = time.monotonic() - began
        return trained, Outcome(float(np.mean(losses)), accuracy, len(chosen), seconds)

    def evaluate(self, vector: Tensor, samples: int) -> Outcome:
        """Accuracy of `vector` on that many test samples, the same on every peer; 0: on all."""
        began = time.monotonic()
        self._model.load(vector)
        accuracy, samples = self._accuracy(samples)
        return Outcome(0.0, accuracy, samples, time.monotonic() - began)

    def _step(self, batch: Indices) -> float:
        where = torch.from_numpy(batch)
        self._adam.zero_gradient()
        output = self._model.module(self._task.scale(self._data.images[where]))
        loss = functional.cross_entropy(output, self._data.labels[where])
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return loss.item()

    def _take_statistics(self, chosen: Indices) -> None:
        """The running statistics that training leaves behind lag behind the weights, most of all in the
        first rounds; what is exchanged is measured afresh with the final weights."""
        images = self._task.scale(self._data.images[torch.from_numpy(chosen)])
        with torch.no_grad():
            self._model.take_statistics(images)

    def _accuracy(self, samples: int) -> tuple[float, int]:
        samples = _up_to(samples, len(self._test))
        self._model.module.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, samples, TEST_BATCH):
                part = slice(start, min(start + TEST_BATCH, samples))
                output = self._model.module(self._task.scale(self._test.images[part]))
                right += int((output.argmax(1) == self._test.labels[part]).sum())
                self._alive()
        return right / samples, samples


def _division(spec: RunSpec, train: Samples, shards: int) -> list[Indices]:
    if spec.partition == "dirichlet":
        return dirichlet(train.labels.numpy(), shards, spec.alpha, spec.seed)
    return iid(len(train), shards, spec.seed)


def _up_to(wanted: int, available: int) -> int:
    return min(wanted, available) if wanted else available


def _batches(order: Indices, size: int) -> Iterator[Indices]:
    """Of nearly equal size: a last batch of one sample has no variance to normalise by."""
    yield from np.array_split(order, -(-len(order) // size))
