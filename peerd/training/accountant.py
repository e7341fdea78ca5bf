"""What the releases of one peer cost: (epsilon, delta), by Google's `dp-accounting`.

The unit is the peer. Neighbouring are any two data sets that this peer may hold, however different and
however large: one is replaced by the other as a whole, all else is alike. Two changes whose norms are at most
`privacy_clip` lie at most twice that apart, so the sensitivity is 2 * privacy_clip. (Where a peer's data is
compared with none at all, as is usual where a server adds up, it is half of that, and epsilon that of twice
the noise multiplier.)

Each release is then a Gaussian mechanism, and so are many: T of multiplier z, each chosen in view of those
before, are one of z / sqrt(T) (Dong, Roth and Su 2019, corollary 3.3). Of a single one the library has the
exact epsilon (Balle and Wang 2018, theorem 8). Nothing is claimed for sampling: a peer takes part in every
round and whole; nor for anonymity: whoever gets a fragment may link it to others by what is in it.

dp-accounting and not Opacus' accountants: it has this case exactly, where Renyi orders only bound it, and
needs no torch, which `peerctl` would otherwise load for one figure.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import numpy as np

from peerd.errors import NotFoundError
from peerd.types import LEAST_NOISE

SENSITIVITY = 2.0
"""In units of `privacy_clip`."""
DIGITS = 4
"""Of a noise multiplier that is looked for."""


def spent(noise_multiplier: float, delta: float, releases: int) -> float:
    """Epsilon after so many releases. NotFoundError where the library is missing."""
    library = _library()
    if not releases:
        return 0.0
    deviation = noise_multiplier / (SENSITIVITY * math.sqrt(releases))
    with np.errstate(divide="ignore"):  # the logarithm of a delta that is 0
        return float(library.get_epsilon_gaussian(deviation, delta))


def needed(epsilon: float, delta: float, releases: int) -> float:
    """The least noise multiplier, in a few digits, with which so many releases cost at most `epsilon` (above
    0); not less than a run may have."""
    with np.errstate(divide="ignore"):
        deviation = float(_library().get_sigma_gaussian(epsilon, delta))
    return max(_rounded_up(deviation * SENSITIVITY * math.sqrt(releases)), LEAST_NOISE)


def _rounded_up(value: float) -> float:
    """To `DIGITS` significant ones."""
    step = math.floor(math.log10(value)) - DIGITS + 1
    return float(f"{math.floor(value / 10.0**step) + 1}e{step}")


def _library() -> Any:
    """Imported when it is asked for: beside scikit-learn, which has scipy loaded, 0.1 s and 8 MB; alone 2 s
    and 80 MB."""
    if importlib.util.find_spec("dp_accounting") is None:
        raise NotFoundError("dp-accounting is not installed here: pip install 'peerd[train]'")
    from dp_accounting import gaussian_mechanism

    return gaussian_mechanism
