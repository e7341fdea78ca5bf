"""What a peer trains on in one round, in which batches and at which learning rate. The same for all
learners."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from peerd.training.task import Indices, up_to
from peerd.types import RunSpec


class Draw:
    """Of one round; all of it follows from seed, round and shard."""

    def __init__(self, spec: RunSpec, round_number: int, shard: int, available: int) -> None:
        self._rng = np.random.default_rng([spec.seed, round_number, shard])
        self.chosen: Indices = self._rng.choice(
            available, up_to(spec.samples_per_round, available), replace=False
        )
        self.epoch = -(-len(self.chosen) // spec.batch_size)
        """Batches that go once over the chosen samples."""
        self.total = spec.local_batches or spec.local_epochs * self.epoch
        self.rate = learning_rate(spec, round_number)

    def batches(self) -> Iterator[Indices]:
        """`total` of them, of nearly equal size: a last batch of one sample has no variance to normalise
        by."""
        left = self.total
        while left > 0:
            yield from np.array_split(self._rng.permutation(self.chosen), self.epoch)[:left]
            left -= self.epoch

    def mean_loss(self, losses: list[float]) -> float:
        """Over the last epoch, of the losses of all batches."""
        return float(np.mean(losses[-self.epoch :]))


def learning_rate(spec: RunSpec, round_number: int) -> float:
    """Rounds count from 1. Cosine: SGDR without restarts (Loshchilov and Hutter 2017, eq. 5), down to zero
    after the last round, so that the last one still learns."""
    before = round_number - 1
    match spec.schedule:
        case "cosine":
            done = min(before / spec.rounds, 1.0)
            return spec.learning_rate * (1.0 + math.cos(math.pi * done)) / 2.0
        case "step":
            return spec.learning_rate * spec.decay ** (before // spec.decay_rounds)
        case "constant":
            return spec.learning_rate
