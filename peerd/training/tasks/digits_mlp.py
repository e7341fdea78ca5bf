"""digits-mlp: scikit-learn's MLPClassifier on its own digits. It shows that the house is not bound to
torch: a learner is whatever can write its model down as one vector.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector
from peerd.training.draw import Draw
from peerd.training.task import Outcome, Samples, Share, up_to
from peerd.training.tasks.digits import CLASSES, MEAN, SIDE, STD, load

PIXELS = SIDE * SIDE
MAX_HIDDEN = 4096


def make(hidden: int = 64) -> DigitsMlp:
    """scikit-learn's multi-layer perceptron on its bundled handwritten digits; no torch."""
    if not 1 <= hidden <= MAX_HIDDEN:
        raise InvalidInputError(f"digits-mlp: option hidden: {hidden}; allowed: 1 to {MAX_HIDDEN}")
    return DigitsMlp(hidden)


@dataclass(frozen=True, slots=True)
class DigitsMlp:
    hidden: int
    classes: int = CLASSES
    data: Callable[[], tuple[Samples, Samples]] = load

    def learner(self, share: Share) -> MlpLearner:
        return MlpLearner(self.hidden, share)


class MlpLearner:
    """See `Learner`. The vector is | weights of layer 1 | weights of layer 2 | biases 1 | biases 2 |."""

    def __init__(self, hidden: int, share: Share) -> None:
        from sklearn.neural_network import MLPClassifier  # two seconds, and only the learner needs it

        self._spec = share.spec
        self._shard = share.shard
        self._alive = share.host.alive
        self._features, self._labels = _scaled(share.train)
        self._test_features, self._test_labels = _scaled(share.test)
        self._mlp = MLPClassifier(
            (hidden,), alpha=0.0, learning_rate_init=share.spec.learning_rate, shuffle=False, random_state=0
        )
        self._step(np.zeros((1, PIXELS), np.float32), np.zeros(1, np.int64))  # makes the arrays
        del self._mlp._optimizer  # what that step has left in Adam's moments
        self._arrays: list[NDArray[np.float32]] = [*self._mlp.coefs_, *self._mlp.intercepts_]
        self._set(_initial(share.spec.seed, (PIXELS, hidden, CLASSES)))

    def vector(self) -> Vector:
        return np.concatenate([array.ravel() for array in self._arrays])

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        began = time.monotonic()
        draw = Draw(self._spec, round, self._shard, len(self._labels))
        self._set(vector)
        self._mlp.learning_rate_init = draw.rate
        if hasattr(self._mlp, "_optimizer"):  # made with the first step, and kept from round to round
            self._mlp._optimizer.learning_rate_init = draw.rate
        losses: list[float] = []
        for batch in draw.batches():
            self._step(self._features[batch], self._labels[batch])
            losses.append(float(self._mlp.loss_))
            self._alive()
        accuracy, _ = self._measure(self._spec.test_samples)
        outcome = Outcome(draw.mean_loss(losses), accuracy, len(draw.chosen), time.monotonic() - began)
        return self.vector(), outcome

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        began = time.monotonic()
        self._set(vector)
        accuracy, samples = self._measure(samples)
        return Outcome(0.0, accuracy, samples, time.monotonic() - began)

    def _step(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """One step of Adam on one batch."""
        self._mlp.batch_size = len(labels)
        self._mlp.partial_fit(features, labels, classes=np.arange(CLASSES))

    def _set(self, vector: Vector) -> None:
        """In place: the optimiser knows these very arrays."""
        ends = np.cumsum([0, *(array.size for array in self._arrays)])
        for array, (start, end) in zip(self._arrays, pairwise(ends), strict=True):
            array[...] = vector[start:end].reshape(array.shape)

    def _measure(self, samples: int) -> tuple[float, int]:
        samples = up_to(samples, len(self._test_labels))
        right = self._mlp.predict(self._test_features[:samples]) == self._test_labels[:samples]
        self._alive()
        return float(right.mean()), samples


def _scaled(samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    pixels = samples.features.reshape(len(samples), PIXELS).astype(np.float32)
    return (pixels - np.float32(MEAN)) / np.float32(STD), samples.labels


def _initial(seed: int, sizes: tuple[int, ...]) -> Vector:
    """Uniform weights (Glorot and Bengio 2010, eq. 16), zero biases; not scikit-learn's own draw, which may
    differ between its versions and so between peers."""
    rng = np.random.default_rng(seed)
    weights = []
    for fan_in, fan_out in pairwise(sizes):
        bound = (6.0 / (fan_in + fan_out)) ** 0.5
        weights.append(rng.uniform(-bound, bound, fan_in * fan_out))
    return np.concatenate([*weights, np.zeros(sum(sizes[1:]))]).astype(np.float32)
