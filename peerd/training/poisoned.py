"""Another task, of whose updates some are poison: to measure what an aggregator withstands.

    sign-flip   start - scale * (trained - start)          against the direction that training found
    noise       start + scale * rms(trained - start) * N   of no direction, as long as `scale` updates

It runs only on hosts whose own `[training] tasks` name it, as `peerd.training.poisoned:make`; `peerctl
experiment poison` makes such hosts. Who poisons is said by shard, since all peers of a run have one spec.
What a poisoner sends is finite and of the right size: the rest its own daemon would refuse, like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector
from peerd.training.registry import SHIPPED, make_task
from peerd.training.session import exact_of
from peerd.training.task import Learner, NoStream, Outcome, Samples, Share, Task
from peerd.types import RunSpec

AttackName = Literal["none", "sign-flip", "noise"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)
SCALES: Mapping[AttackName, float] = {"none": 1.0, "sign-flip": 5.0, "noise": 30.0}
"""With which one in six ruins a mean. Noise must be longer: it goes in all directions and thus in none."""
SALT = 0x706F6973
"""Keeps the draw of the noise apart from those of the rounds."""


def make(
    data_dir: str,
    seed: int,
    task: str = "digits-cnn",
    attack: str = "none",
    poisoners: int = 1,
    scale: float = 0.0,
) -> Poisoned:
    """A shipped task; the first so many shards send poison. scale 0: that of `SCALES`."""
    name = next((known for known in ATTACKS if known == attack), None)
    if name is None:
        raise InvalidInputError(f"option attack: {attack!r}; allowed: {', '.join(ATTACKS)}")
    if poisoners < 0 or not 0.0 <= scale <= 1e6:
        raise InvalidInputError("options poisoners and scale: 0 or more, scale 1e6 at most")
    inner = make_task(RunSpec(run_id="0" * 32, task=task, data_dir=data_dir, seed=seed), tuple(SHIPPED))
    return Poisoned(inner, name, poisoners, scale or SCALES[name])


@dataclass(frozen=True, slots=True)
class Poisoned:
    inner: Task
    attack: AttackName
    poisoners: int
    scale: float

    @property
    def classes(self) -> int:
        return self.inner.classes

    @property
    def data(self) -> Callable[[], tuple[Samples, Samples]]:
        return self.inner.data

    def learner(self, share: Share) -> Learner:
        if self.attack == "none" or share.shard >= self.poisoners:
            return self.inner.learner(share)
        # Poison is made of the whole update: nothing is sent before there is one.
        honest = self.inner.learner(replace(share, host=replace(share.host, stream=NoStream())))
        return PoisoningLearner(honest, self.attack, self.scale, (share.spec.seed, share.shard))


class PoisoningLearner:
    """See `Learner`. What it says of its training is what an honest one would say."""

    def __init__(self, honest: Learner, attack: AttackName, scale: float, seeds: tuple[int, int]) -> None:
        self._honest = honest
        self._attack = attack
        self._scale = scale
        self._seeds = seeds

    @property
    def exact(self) -> int:
        return exact_of(self._honest)

    @property
    def form(self) -> str:
        """It passes for one of them."""
        return str(getattr(self._honest, "form", ""))

    def vector(self) -> Vector:
        return self._honest.vector()

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        start = vector.copy()
        trained, outcome = self._honest.train(round, vector)
        return poison(start, trained, self._attack, self._scale, (*self._seeds, round)), outcome

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        return self._honest.evaluate(vector, samples)


def poison(
    start: Vector, trained: Vector, attack: AttackName, scale: float, seeds: tuple[int, ...]
) -> Vector:
    """What is sent in the place of `trained`, shape (parameters,), finite if that is."""
    change = trained.astype(np.float64) - start
    match attack:
        case "none":
            return trained
        case "sign-flip":
            false = start - scale * change
        case "noise":
            size = float(np.sqrt(np.mean(np.square(change))))
            false = start + scale * size * np.random.default_rng([*seeds, SALT]).standard_normal(len(start))
    largest = float(np.finfo(np.float32).max)
    return np.clip(false, -largest, largest).astype(np.float32)
