"""Random times, drawn exactly (by inversion, one uniform each) from a given `random.Random`.

Production hands in a `random.SystemRandom`: delays and gaps are part of what mixing hides.
"""

from __future__ import annotations

import math
import random
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()
_TINY = 2.0**-53
"""Keeps a probability off 0 and 1, where the inverse of the normal distribution is infinite."""


def draw_exponential(rng: random.Random, mean: float) -> float:
    """Exponentially distributed seconds; 0.0 where the mean is not positive.

    A uniform of 53 bits goes in, so that no draw exceeds 36.8 times the mean.
    """
    if mean <= 0.0:
        return 0.0
    return -mean * math.log(1.0 - rng.random())


def draw_truncated_normal(rng: random.Random, mean: float, deviation: float) -> float:
    """Normally distributed seconds, truncated to 0 and 2 x mean; `mean` itself without deviation.

    Truncation is symmetric so that the mean of what is drawn is `mean` whatever the deviation:
    a rate that is computed from it holds. (`deviation` is that of the normal before truncation.)
    """
    if deviation <= 0.0:
        return mean
    inside = math.erf(mean / (deviation * math.sqrt(2.0)))  # probability that truncation keeps
    probability = 0.5 + (rng.random() - 0.5) * inside
    probability = min(max(probability, _TINY), 1.0 - _TINY)
    drawn = mean + deviation * _STANDARD_NORMAL.inv_cdf(probability)
    return min(max(drawn, 0.0), 2.0 * mean)  # rounding only
