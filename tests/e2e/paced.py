"""The task `synthetic` at the pace of a real one: training takes a while, but neither torch nor CPU.

For tests in which something happens to peers while they train: what the others do must not depend on how fast
this machine is, nor slow down the other tests on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from peerd.trainerproto import Vector
from peerd.training.task import Outcome, Share
from peerd.training.tasks import synthetic


@dataclass(frozen=True, slots=True)
class Paced(synthetic.Synthetic):
    seconds: float = 0.5

    def learner(self, share: Share) -> synthetic.SyntheticLearner:
        return PacedLearner(self, share)


class PacedLearner(synthetic.SyntheticLearner):
    def __init__(self, task: Paced, share: Share) -> None:
        super().__init__(task, share)
        self._seconds = task.seconds

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        time.sleep(self._seconds)
        return super().train(round, vector)


def make(seconds: float = 0.5, parameters: int = 10_000) -> Paced:
    plain = synthetic.make(parameters)
    return Paced(plain.parameters, plain.step, plain.noise, plain.data, seconds=seconds)
