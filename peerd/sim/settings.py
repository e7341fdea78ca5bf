"""What all daemons of a simulated network are set to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, MixingConfig, RelayConfig
from peerd.learning.fragment import Vector
from peerd.sphinx import Epochs, Geometry
from peerd.types import RunSpec

QUIET = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)


class Measured(Protocol):
    """Of a model; `peerd.training.Outcome` is one."""

    @property
    def accuracy(self) -> float: ...

    @property
    def samples(self) -> int: ...


class Learner(Protocol):
    """What really learns, where that matters; `peerd.training.Learner` is one."""

    def vector(self) -> Vector: ...

    def train(self, round: int, vector: Vector) -> tuple[Vector, Measured]: ...

    def evaluate(self, vector: Vector, samples: int) -> Measured: ...


@dataclass(frozen=True, slots=True)
class Training:
    """How a trainer behaves. Times in seconds, drawn anew for each job, uniformly."""

    parameters: int = 100
    start: tuple[float, float] = (0.2, 0.6)
    seconds: tuple[float, float] = (0.5, 2.0)
    learner: Callable[[RunSpec, int], Learner] | None = None
    """Of a run on the host of that number, with a model of `parameters`; None: noise."""


@dataclass(frozen=True, slots=True)
class Settings:
    mixing: MixingConfig = QUIET
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    relay: RelayConfig = field(default_factory=RelayConfig)
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    geometry: Geometry = field(default_factory=lambda: Geometry(max_hops=3, body_bytes=1024))
    epochs: Epochs = field(default_factory=lambda: Epochs(600.0, 30.0))
    training: Training = Training()
