"""What bounding and noise cost in accuracy, and what they buy: six peers on digits-cnn. The tables in
README.md and peerd/README.md come from here.

Simulated in one process, with the product's own trainers and plain averaging.

    python tests/bench/privacy.py                 a minute
    python tests/bench/privacy.py --clip 0.5 --noise 0.02 --rounds 20
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from peerd.presets import TASK_DEFAULTS
from peerd.training.accountant import spent
from peerd.training.session import open_learner
from peerd.types import PRIVACY_DELTA, RunSpec

PEERS = 6
NOISE = (0.0, 0.02, 0.05, 0.2, 1.0)


def simulate(clip: float, noise: float, rounds: int, seed: int) -> dict[str, Any]:
    settings: dict[str, Any] = {**TASK_DEFAULTS["digits-cnn"], "rounds": rounds, "seed": seed}
    spec = RunSpec(run_id="0" * 32, task="digits-cnn", privacy_clip=clip, noise_multiplier=noise, **settings)
    peers = [open_learner(spec, number, PEERS) for number in range(PEERS)]
    vector = peers[0].vector()
    accuracies = []
    for number in range(1, rounds + 1):
        trained = [peer.train(number, vector)[0] for peer in peers]
        vector = np.mean(trained, 0, dtype=np.float64).astype(np.float32)
        accuracies.append(round(peers[0].evaluate(vector, 0).accuracy, 3))
    known = {"clip": clip, "noise_multiplier": noise, "seed": seed, "accuracy": accuracies}
    if not noise:
        return known
    each, average = (spent(noise * scale, PRIVACY_DELTA, rounds) for scale in (1.0, math.sqrt(PEERS)))
    return known | {"epsilon": round(each, 1), "epsilon_of_averages": round(average, 1)}


def main(say: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--noise", type=float, action="append")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = [simulate(0.0, 0.0, options.rounds, seed) for seed in range(options.seeds)]
    results += [
        simulate(options.clip, noise, options.rounds, seed)
        for noise in options.noise or NOISE
        for seed in range(options.seeds)
    ]
    say(
        json.dumps({"privacy": {"delta": PRIVACY_DELTA, "rounds": options.rounds, "runs": results}}, indent=1)
    )


if __name__ == "__main__":
    main()
