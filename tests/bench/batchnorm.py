"""What to do with batch normalisation's statistics, and with Adam's, when six peers average: accuracy of
the aggregated model after each round. The table in peerd/training/README.md comes from here.

Simulated in one process, with the product's own trainers and plain averaging.

    python tests/bench/batchnorm.py                          digits, half a minute
    python tests/bench/batchnorm.py --mnist ../shared/data/mnist     MNIST, a quarter of an hour
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peerd.presets import TASK_DEFAULTS
from peerd.trainerproto import Vector
from peerd.training import Outcome, torchtask
from peerd.training.flat import FlatModel
from peerd.training.session import open_learner
from peerd.training.torchtask import STATISTICS_SAMPLES, TorchLearner
from peerd.types import RunSpec

PEERS = 6


class PlainModel(FlatModel):
    """Exchanges means and variances instead of moments."""

    def vector(self) -> Tensor:
        variances = [norm.running_var for norm in self._norms]
        means = [norm.running_mean for norm in self._norms]
        return torch.cat([self.weights, *means, *variances])

    def load(self, vector: Tensor) -> None:
        sizes = [norm.num_features for norm in self._norms]
        weights, *statistics = vector.split([len(self.weights), *sizes, *sizes])
        self.weights.copy_(weights)
        for number, norm in enumerate(self._norms):
            norm.running_mean.copy_(statistics[number])
            norm.running_var.copy_(statistics[number + len(sizes)])


class Lagging(TorchLearner):
    """Leaves the running statistics as training left them (momentum 0.1)."""

    def _take_statistics(self, chosen: Any) -> None:
        pass


class Local(TorchLearner):
    """Does not use the others' statistics: takes its own with the averaged weights."""

    def evaluate(self, vector: Vector, samples: int) -> Outcome:
        self._model.load(torch.from_numpy(vector))
        self._take_statistics(np.arange(min(STATISTICS_SAMPLES, len(self._labels))))
        return super().evaluate(self.vector(), samples)


class ForgetfulAdam(TorchLearner):
    """Starts every round with a new Adam."""

    def train(self, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        rate = self._spec.learning_rate
        self._optimizer = torchtask.Adam(self._model.weights, self._model.gradient, rate)
        return super().train(round, vector)


POLICIES: dict[str, tuple[type[TorchLearner], type[FlatModel]]] = {
    "moments, taken anew (ours)": (TorchLearner, FlatModel),
    "moments, lagging": (Lagging, FlatModel),
    "plain average, taken anew": (TorchLearner, PlainModel),
    "plain average, lagging": (Lagging, PlainModel),
    "not exchanged, taken locally": (Local, FlatModel),
    "ours, Adam anew each round": (ForgetfulAdam, FlatModel),
}


@contextmanager
def using(learner: type[TorchLearner], model: type[FlatModel]) -> Iterator[None]:
    torchtask.TorchLearner, torchtask.FlatModel = learner, model  # type: ignore[misc]
    try:
        yield
    finally:
        torchtask.TorchLearner, torchtask.FlatModel = TorchLearner, FlatModel  # type: ignore[misc]


def simulate(spec: RunSpec, policy: str) -> dict[str, Any]:
    learner, model = POLICIES[policy]
    with using(learner, model):
        peers = [open_learner(spec, number, PEERS) for number in range(PEERS)]
    vector = peers[0].vector()
    accuracies = []
    cpu = 0.0
    for number in range(1, spec.rounds + 1):
        began = time.process_time()
        trained = [peer.train(number, vector)[0] for peer in peers]
        cpu += time.process_time() - began
        vector = np.mean(trained, 0, dtype=np.float64).astype(np.float32)
        samples = 0 if number == spec.rounds else spec.test_samples
        judges = peers if learner is Local else peers[:1]
        found = [judge.evaluate(vector, samples).accuracy for judge in judges]
        accuracies.append(round(float(np.mean(found)), 4))
    return {
        "task": spec.task,
        "partition": spec.partition,
        "policy": policy,
        "seed": spec.seed,
        "samples_per_round": spec.samples_per_round,
        "learning_rate": spec.learning_rate,
        "accuracy": accuracies,
        "cpu_seconds_per_peer_and_round": round(cpu / PEERS / spec.rounds, 3),
    }


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mnist", default="", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, help="samples per round, instead of the default")
    parser.add_argument("--rate", type=float, help="learning rate, instead of the default")
    parser.add_argument("--batch", type=int, help="batch size, instead of the default")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--policy", choices=POLICIES, action="append")
    parser.add_argument("--partition", choices=["iid", "dirichlet"], action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = "mnist-cnn" if options.mnist else "digits-cnn"
    settings: dict[str, Any] = {**TASK_DEFAULTS[task], "rounds": options.rounds}
    given = {
        "samples_per_round": options.samples,
        "learning_rate": options.rate,
        "batch_size": options.batch,
    }
    settings.update({key: value for key, value in given.items() if value is not None})
    results = [
        simulate(
            RunSpec(
                run_id="0" * 32,
                task=task,  # type: ignore[arg-type]
                data_dir=options.mnist,
                partition=partition,
                seed=seed,
                **settings,
            ),
            policy,
        )
        for partition in options.partition or ("iid", "dirichlet")
        for policy in options.policy or POLICIES
        for seed in range(options.seeds)
    ]
    say(json.dumps({"batchnorm": results}, indent=1))


if __name__ == "__main__":
    main()
