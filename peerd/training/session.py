"""One run's learner, ready to be asked: the task found, its data read and checked, this peer's share taken,
and the learner, whoever wrote it, held to its contract.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from peerd.errors import InvalidInputError
from peerd.trainerproto import FORM_BYTES, MAX_PARAMETERS, Vector
from peerd.training.partition import divide
from peerd.training.privacy import release
from peerd.training.registry import blamed, make_task
from peerd.training.task import Host, Learner, Outcome, Samples, Share, Task
from peerd.types import SHIPPED_TASKS, RunSpec

HOLDOUT = 0x686F6C64
"""Keeps the draw of the held out samples apart from those of the rounds."""


def open_learner(
    spec: RunSpec,
    shard: int,
    shards: int,
    host: Host | None = None,
    allowed: Collection[str] = SHIPPED_TASKS,
) -> Learner:
    """For part `shard` of `shards`. Raises a PeerdError of one line when task or data cannot be used."""
    return open_learners(spec, [shard], shards, host, allowed)[0]


def open_learners(
    spec: RunSpec,
    chosen: Sequence[int],
    shards: int,
    host: Host | None = None,
    allowed: Collection[str] = SHIPPED_TASKS,
    *,
    swapped: bool = False,
) -> list[Learner]:
    """For several parts, of data that is read once: an experiment has many peers in one process. swapped: of
    the test samples, which no peer of a run trains on."""
    task = make_task(spec, allowed)
    train, test = load_data(spec.task, task)
    if swapped:
        train, test = test, train
    parts = divide(spec, train.labels, task.classes, shards)
    learners: list[Learner] = []
    for shard in chosen:
        own, tested = _evaluated_on(
            spec, shard, train.take(parts[0 if spec.partition == "own" else shard]), test
        )
        share = Share(spec=spec, shard=shard, train=own, test=tested, host=host or Host())
        with blamed(spec.task, "its learner"):
            learners.append(_Held(spec, task.learner(share), share.host))
    return learners


def load_data(name: str, task: Task) -> tuple[Samples, Samples]:
    """Training and test samples, checked."""
    with blamed(name, "its data"):
        train, test = task.data()
        if not isinstance(train, Samples) or not isinstance(test, Samples):
            raise InvalidInputError(
                f"task {name!r}: data() must return two Samples: for training, for testing"
            )
    where = f"task {name!r}"
    return (
        train.checked(task.classes, f"{where}, training data"),
        test.checked(task.classes, f"{where}, test data"),
    )


def _evaluated_on(spec: RunSpec, shard: int, own: Samples, test: Samples) -> tuple[Samples, Samples]:
    """What this peer trains on, and what it measures models on."""
    if spec.evaluation == "shared":
        # Not the first ones: MNIST's test set has its easy writers in front.
        return own, test.take(np.random.default_rng(0).permutation(len(test)))
    if len(own) < 2:
        raise InvalidInputError("evaluation holdout: this peer has one sample; two are needed at least")
    order = np.random.default_rng([spec.seed, HOLDOUT, shard]).permutation(len(own))
    held = min(max(round(spec.holdout * len(own)), 1), len(own) - 1)
    return own.take(np.sort(order[held:])), own.take(order[:held])


def exact_of(learner: Learner) -> int:
    """How many of its values, at the end, must not be rounded coarsely: what it says, if it says anything."""
    exact = getattr(learner, "exact", 0)
    return exact if isinstance(exact, int) and 0 <= exact < len(learner.vector()) else 0


def form_of(learner: Learner) -> bytes:
    """A hash of what its vector is made of, 8 bytes: of sizes, and of what the learner says, if it does."""
    said = getattr(learner, "form", "")
    sizes = f"{len(learner.vector())} {exact_of(learner)}"
    text = f"{sizes} {said if isinstance(said, str) else ''}"
    return hashlib.blake2b(text.encode(), digest_size=FORM_BYTES).digest()


class _Held:
    """A learner held to its contract: sizes, finite values, and one line for what goes wrong in it. Where
    the spec asks for privacy, it gives trained models away only as `privacy.release` makes them."""

    def __init__(self, spec: RunSpec, learner: Learner, host: Host) -> None:
        self._spec = spec
        self._learner = learner
        self._host = host
        self._size = len(self.vector())

    @property
    def exact(self) -> int:
        return exact_of(self._learner)

    @property
    def form(self) -> str:
        said = getattr(self._learner, "form", "")
        return said if isinstance(said, str) else ""

    def vector(self) -> Vector:
        with blamed(self._spec.task, "its initial model"):
            vector = self._learner.vector()
        self._check(vector)
        if not np.isfinite(vector).all():
            raise InvalidInputError(f"task {self._spec.task!r}: NaN or infinity in the initial model")
        return vector

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        """Raises InvalidInputError when training diverges."""
        start = vector.copy() if self._spec.privacy_clip else vector  # whatever the learner does to it
        with blamed(self._spec.task, f"training in round {round}"):
            trained, outcome = self._learner.train(round, vector)
        self._check(trained, self._size)
        if not math.isfinite(outcome.loss) or not np.isfinite(trained).all():
            rate = self._spec.learning_rate
            raise InvalidInputError(f"training diverged in round {round}; lower learning_rate (now {rate:g})")
        if self._spec.privacy_clip:
            trained, outcome = self._released(trained, start, outcome)
        return trained, self._measured(outcome)

    def _released(self, trained: Vector, start: Vector, outcome: Outcome) -> tuple[Vector, Outcome]:
        """With the accuracy of what is released: that of the other model would tell of it."""
        spec = self._spec
        made = release(trained, start, spec.privacy_clip, spec.noise_multiplier, self._host.alive)
        return made, replace(outcome, accuracy=self.evaluate(made, spec.test_samples).accuracy)

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        with blamed(self._spec.task, "evaluation"):
            outcome = self._learner.evaluate(vector, samples)
        return self._measured(outcome)

    def _check(self, vector: object, size: int = 0) -> None:
        name = f"task {self._spec.task!r}"
        if not isinstance(vector, np.ndarray) or vector.dtype != np.float32 or vector.ndim != 1:
            raise InvalidInputError(f"{name}: a model vector must be a NumPy array of float32, one dimension")
        if not 0 < len(vector) <= MAX_PARAMETERS:
            raise InvalidInputError(f"{name}: {len(vector)} parameters; 1 to {MAX_PARAMETERS} are allowed")
        if size and len(vector) != size:
            raise InvalidInputError(f"{name}: training made {len(vector)} parameters of {size}")

    def _measured(self, outcome: Outcome) -> Outcome:
        if not math.isfinite(outcome.accuracy):
            raise InvalidInputError(f"task {self._spec.task!r}: its metric is {outcome.accuracy}")
        return outcome
