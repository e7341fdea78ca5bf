"""What a task is, without saying in which framework it trains.

A `Task` knows its data and makes a `Learner` for a peer's share of them. The learner holds a model that can
be written down as one flat vector; that is all that the rest of the house asks of it. A model of torch is
one kind (`torchtask`), scikit-learn another (`tasks/digits_mlp`), plain NumPy a third (`tasks/synthetic`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector
from peerd.types import RunSpec

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Features, shape (n, ...), and labels, shape (n,) for classes. Pixels are best left as uint8, a quarter
    of the memory of floats: the task scales them a batch at a time."""

    features: NDArray[Any]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> Samples:
        """A copy of some samples, so that the rest can be freed."""
        return Samples(self.features[indices], self.labels[indices])

    def checked(self, classes: int, where: str) -> Samples:
        """The same with features of uint8, int64 or float32 and labels of int64 (float32 without classes).

        Raises InvalidInputError when they do not belong together or to the task.
        """
        features, labels = _numbers(self.features, where), _numbers(self.labels, where)
        if len(features) != len(labels) or not len(labels):
            raise InvalidInputError(f"{where}: {len(features)} samples but {len(labels)} labels")
        if not classes:
            return Samples(features, labels.astype(np.float32, copy=False))
        if labels.ndim != 1 or labels.dtype == np.float32:
            raise InvalidInputError(f"{where}: labels must be whole numbers, one for each sample")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            wrong = low if low < 0 else high
            raise InvalidInputError(f"{where}: label {wrong}; labels go from 0 to {classes - 1}")
        return Samples(features, labels.astype(np.int64, copy=False))


def _numbers(array: Any, where: str) -> NDArray[Any]:
    """Finite, and of one of three types. Raises InvalidInputError."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
        what = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InvalidInputError(f"{where}: samples are NumPy arrays of numbers, not {what}")
    if array.dtype.kind in "bu" and array.dtype.itemsize == 1:
        return array.view(np.uint8)
    if array.dtype.kind != "f":
        return array.astype(np.int64, copy=False)
    floats = array.astype(np.float32, copy=False)
    if not np.isfinite(floats).all():
        raise InvalidInputError(f"{where}: NaN or infinity among the samples; clean the data first")
    return floats


@dataclass(frozen=True, slots=True)
class Outcome:
    loss: float
    """Mean over the batches of the last epoch."""
    accuracy: float
    """Mean of the task's metric, best between 0 and 1, over the test samples."""
    samples: int
    """Training: drawn from the shard for this round. Evaluation: tested on."""
    seconds: float


@runtime_checkable
class Learner(Protocol):
    """One peer's model, optimiser and share of the data, for a whole run.

    Deterministic: what `train` gives depends on the spec, the shard, the round and the vector, so that a
    trainer that was killed and started again trains the same round alike (but for what an optimiser
    remembers, and for what was frozen when, which is a secret).

    `exact`, an int, may say how many values at the end of the vector must not be rounded coarsely (int8,
    top-k, random-mask): what is measured and not learned, such as variances. Alike on all peers.

    `form`, a str, may say what the vector is made of, such as names and shapes. A hash of it and of the sizes
    is told to all: with a peer whose model is of another form nothing is exchanged.
    """

    def vector(self) -> Vector:
        """Before the first round, the model that all peers start from. A copy, shape (parameters,)."""
        ...

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        """One round from `vector`, which stays as it is. Returns a copy of the trained model."""
        ...

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        """Of `vector` on that many test samples; 0: on all."""
        ...


class Stream(Protocol):
    """Takes fragments of a trained vector before training is over, so that they are sent meanwhile.

    Giving none is fine. What was given must be in the vector that `train` returns, to the bit.
    """

    @property
    def fragments(self) -> int:
        """Of a vector; 0: none are wanted in this round."""
        ...

    def slice(self, index: int) -> slice:
        """Where fragment `index` lies in the vector."""
        ...

    def put(self, index: int, values: Vector) -> None:
        """Fragment `index` is final. Once each."""
        ...


class NoStream:
    """Nothing is wanted."""

    fragments = 0

    def slice(self, index: int) -> slice:
        raise IndexError("no fragments are wanted")

    def put(self, index: int, values: Vector) -> None:
        raise RuntimeError("no fragments are wanted")


@dataclass(frozen=True, slots=True)
class Host:
    """What a learner may use, and whom it tells."""

    device: str = "auto"
    """auto, cpu, cuda, mps."""
    threads: int = 1
    alive: Callable[[], None] = lambda: None
    """Called after every batch, to tell the daemon that work goes on."""
    stream: Stream = field(default_factory=NoStream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a peer of a run has to learn with."""

    spec: RunSpec
    shard: int
    train: Samples
    """This peer's own."""
    test: Samples
    host: Host = field(default_factory=Host)


@runtime_checkable
class Task(Protocol):
    """What a task's factory returns."""

    @property
    def classes(self) -> int:
        """Labels go from 0 to classes - 1. 0: labels are no classes but numbers."""
        ...

    @property
    def data(self) -> Callable[[], tuple[Samples, Samples]]:
        """Gives the training samples of all peers together (of this host alone with partition `own`) and the
        test samples. Raises InvalidInputError or NotFoundError."""
        ...

    def learner(self, share: Share) -> Learner: ...


def up_to(wanted: int, available: int) -> int:
    """So many; 0: all."""
    return min(wanted, available) if wanted else available
