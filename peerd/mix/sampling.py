"""Random times. Exact samplers over a given `random.Random`; production hands in a CSPRNG."""

from __future__ import annotations

import math
import random


def draw_exponential(rng: random.Random, mean: float) -> float:
    """Exponentially distributed seconds by inversion; 0.0 where the mean is 0."""
    if mean <= 0.0:
        return 0.0
    return -mean * math.log(1.0 - rng.random())


def draw_truncated_normal(rng: random.Random, mean: float, deviation: float) -> float:
    """Normally distributed seconds, truncated to (0, 2 x mean) by rejection, so that the mean stays.

    The truncation is symmetric: half of the draws or more are kept whatever the deviation (the
    acceptance falls for deviations far above the mean, hence the uniform limit beyond 4 x mean).
    """
    if deviation <= 0.0:
        return mean
    if deviation > 4.0 * mean:
        return 2.0 * mean * rng.random()
    while True:
        drawn = rng.gauss(mean, deviation)
        if 0.0 < drawn < 2.0 * mean:
            return drawn
