"""synthetic: a model of any size that costs next to nothing to train. For scale and benchmarks.

There is a hidden optimum, drawn from the run's seed. A round of training goes a part (`step`) of the way
there from where the vector is, and misses by noise of each peer's and round's own, which averaging over
peers takes out again. Accuracy is 1 - |vector - optimum| / |optimum|, not below zero: it starts at zero and
says how well the *average* has arrived, so that lost or damaged fragments show in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from peerd.errors import InvalidInputError
from peerd.trainerproto import MAX_PARAMETERS, Vector
from peerd.training.draw import learning_rate
from peerd.training.task import Outcome, Samples, Share, up_to

CLASSES = 10
TEST_SAMPLES = 100
MAX_SAMPLES = 10_000_000
CHUNK = 2**20
"""Floats handled at a time: beside its vectors a learner needs next to no memory."""


def make(parameters: int = 10_000, step: float = 0.5, noise: float = 0.1, samples: int = 6_000) -> Synthetic:
    """A model of any number of parameters that finds a hidden optimum; no torch, hardly any work."""
    for name, value, low, high in (
        ("parameters", parameters, 1, MAX_PARAMETERS),
        ("step", step, 0.0, 1.0),
        ("noise", noise, 0.0, 100.0),
        ("samples", samples, 1, MAX_SAMPLES),
    ):
        if not low <= value <= high:
            raise InvalidInputError(f"synthetic: option {name}: {value}; allowed: {low} to {high}")
    return Synthetic(parameters, step, noise, lambda: (_labelled(samples), _labelled(TEST_SAMPLES)))


@dataclass(frozen=True, slots=True)
class Synthetic:
    parameters: int
    step: float
    noise: float
    data: Callable[[], tuple[Samples, Samples]]
    """Only counted: they have labels, so that there is something to divide, and no content."""
    classes: int = CLASSES

    def learner(self, share: Share) -> SyntheticLearner:
        return SyntheticLearner(self, share)


class SyntheticLearner:
    """See `Learner`."""

    def __init__(self, task: Synthetic, share: Share) -> None:
        self._task = task
        self._spec = share.spec
        self._shard = share.shard
        self._alive = share.host.alive
        self._samples = up_to(share.spec.samples_per_round, len(share.train))
        self._test_samples = len(share.test)
        rng = np.random.default_rng(share.spec.seed)
        self._optimum: Vector = rng.standard_normal(task.parameters, dtype=np.float32)
        self._norm = self._distance(np.zeros_like(self._optimum))

    def vector(self) -> Vector:
        return np.zeros_like(self._optimum)

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        """The learning-rate schedule scales the step; epochs and batches do not matter."""
        began = time.monotonic()
        rng = np.random.default_rng([self._spec.seed, round, self._shard])
        scale = learning_rate(self._spec, round) / self._spec.learning_rate
        step, noise = (
            np.float32(self._task.step * scale),
            np.float32(self._task.step * scale * self._task.noise),
        )
        trained = np.empty_like(self._optimum)
        for part in self._parts():
            missed = rng.standard_normal(part.stop - part.start, dtype=np.float32) * noise
            trained[part] = vector[part] + step * (self._optimum[part] - vector[part]) + missed
            self._alive()
        distance = self._distance(trained)
        seconds = time.monotonic() - began
        return trained, Outcome(distance / self._norm, self._accuracy(distance), self._samples, seconds)

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        """Exact, whatever the number of samples."""
        began = time.monotonic()
        accuracy = self._accuracy(self._distance(vector))
        return Outcome(0.0, accuracy, up_to(samples, self._test_samples), time.monotonic() - began)

    def _accuracy(self, distance: float) -> float:
        return max(0.0, 1.0 - distance / self._norm)

    def _distance(self, vector: Vector) -> float:
        squares = 0.0
        for part in self._parts():
            difference = (vector[part] - self._optimum[part]).astype(np.float64)
            squares += float(difference @ difference)
        return float(np.sqrt(squares))

    def _parts(self) -> list[slice]:
        size = len(self._optimum)
        return [slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]


def _labelled(samples: int) -> Samples:
    return Samples(np.zeros((samples, 1), np.uint8), np.arange(samples) % CLASSES)
