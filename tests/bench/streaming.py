"""What freezing costs in accuracy: six learners of the product averaged in one process, for shares of a
round's batches over which the model is frozen fragment by fragment (`RunSpec.streaming`). One JSON object.

    accuracy    of the aggregate after each round, mean over the seeds; by share
    spread      standard deviation over the seeds of the last one

What it gains in time is measured by `round.py`.

    python tests/bench/streaming.py                                  digits, under a minute
    python tests/bench/streaming.py --mnist ../shared/data/mnist     the reference task of round.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peerd.layout import Layout
from peerd.presets import TASK_DEFAULTS
from peerd.trainerproto import Vector
from peerd.training.session import open_learner
from peerd.training.task import Host
from peerd.types import RunSpec

PEERS = 6
FRAGMENT_VALUES = 1_989
"""Of float32, in a packet of 8 KiB."""
SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)
REFERENCE: dict[str, Any] = {
    "samples_per_round": 1_000,
    "test_samples": 1_000,
    "batch_size": 64,
    "local_epochs": 1,
    "learning_rate": 1e-3,
}


class Everything:
    """A stream that takes all fragments."""

    def __init__(self) -> None:
        self.layout: Layout | None = None

    @property
    def fragments(self) -> int:
        return 0 if self.layout is None else self.layout.fragments

    def slice(self, index: int) -> slice:
        assert self.layout is not None
        return self.layout.slice(index)

    def put(self, index: int, values: Vector) -> None:
        pass


def accuracies(spec: RunSpec) -> list[float]:
    stream = Everything()
    learners = [open_learner(spec, number, PEERS, Host("cpu", 1, stream=stream)) for number in range(PEERS)]
    vector: Vector = learners[0].vector()
    stream.layout, found = Layout(len(vector), FRAGMENT_VALUES), []
    for number in range(1, spec.rounds + 1):
        trained = [learner.train(number, vector)[0] for learner in learners]
        vector = np.mean(trained, 0, dtype=np.float64).astype(np.float32)
        found.append(learners[0].evaluate(vector, spec.test_samples).accuracy)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, action="append")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = "mnist-cnn" if options.mnist else "digits-cnn"
    settings = REFERENCE if options.mnist else TASK_DEFAULTS["digits-cnn"]
    report = {}
    for share in options.share or SHARES:
        runs = [
            accuracies(
                RunSpec(
                    run_id="0" * 32,
                    task=task,
                    data_dir=str(options.mnist or ""),
                    rounds=options.rounds,
                    seed=seed,
                    streaming=share,
                    **settings,
                )
            )
            for seed in range(options.seeds)
        ]
        report[str(share)] = {
            "accuracy": [round(float(value), 4) for value in np.mean(runs, 0)],
            "spread": round(float(np.std(runs, 0)[-1]), 4),
        }
    print(json.dumps({"task": task, "streaming": report}))


if __name__ == "__main__":
    main()
