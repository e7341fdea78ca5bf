"""How well an adversary did: his guesses and his doubts, against the truth.

Entropy as in Serjantov and Danezis, "Towards an Information Theoretic Metric for Anonymity" (2002): of the
posterior over senders. It is only worth what the posterior is: `surprise_bits`, the mean of -log2 of what the
true sender was given, equals it where the posterior is calibrated, and exceeds it where it is too sure.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ctl.experiment.observation import Floats, Ints

Z = 1.959964
LINKED = (1, 2, 5, 10, 20)
"""Messages of one sender that a recipient can link by their content (Danezis, "Statistical Disclosure
Attacks", 2003, is the same idea with weaker evidence)."""
DRAWS = 4
"""Times that the messages of one sender to one recipient are grouped anew, for each number linked."""


@dataclass(frozen=True)
class Score:
    guess_rate: float
    guess_interval: tuple[float, float]
    """Wilson's, at 95 %, as if challenges were independent."""
    entropy_bits: float
    surprise_bits: float
    challenges: int

    def data(self) -> dict[str, Any]:
        return asdict(self) | {"guess_interval": list(self.guess_interval)}


def score(posterior: Floats, sender: Ints) -> Score:
    """`posterior` (n, peers), rows sum to 1; `sender` (n,) is the truth."""
    count = len(sender)
    if not count:
        return Score(0.0, (0.0, 1.0), 0.0, 0.0, 0)
    hits = float(guesses(posterior, sender).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(posterior > 0.0, -posterior * np.log2(posterior), 0.0)
    true = np.maximum(posterior[np.arange(count), sender], 1e-12)
    return Score(
        guess_rate=hits / count,
        guess_interval=wilson(hits, count),
        entropy_bits=float(terms.sum(axis=1).mean()),
        surprise_bits=float(-np.log2(true).mean()),
        challenges=count,
    )


def guesses(posterior: Floats, sender: Ints) -> Floats:
    """(n,): chance that the guess is right; among equally likely senders it is drawn uniformly."""
    best = posterior >= posterior.max(axis=1, keepdims=True) * (1.0 - 1e-9)
    result: Floats = best[np.arange(len(sender)), sender] / best.sum(axis=1)
    return result


def wilson(hits: float, count: int) -> tuple[float, float]:
    """Wilson's interval for a share, at 95 %."""
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2.0) / (1.0 + square)
    half = Z * math.sqrt(share * (1.0 - share) / count + square / (4.0 * count)) / (1.0 + square)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def linked(posterior: Floats, sender: Ints, recipient: Ints, seed: int) -> dict[str, dict[str, Any] | None]:
    """Guess rate from the product of k posteriors of messages from one sender to one recipient, for each k
    of LINKED; None where no pair of peers has so many. Each pair's messages are grouped by chance."""
    rng = np.random.default_rng(seed)
    logs = np.log(np.maximum(posterior, 1e-12))
    pair = sender * posterior.shape[1] + recipient
    members = [np.flatnonzero(pair == one) for one in np.unique(pair)]
    result: dict[str, dict[str, Any] | None] = {}
    for k in LINKED:
        sums, true = [], []
        for found in members:
            for _ in range(DRAWS if k > 1 else 1):
                shuffled = rng.permutation(found)
                whole = shuffled[: len(found) // k * k].reshape(-1, k)
                sums += [logs[group].sum(axis=0) for group in whole]
                true += [sender[found[0]]] * len(whole)
        if not true:
            result[str(k)] = None
            continue
        stacked = np.array(sums)
        stacked -= stacked.max(axis=1, keepdims=True)
        hits = guesses(np.exp(stacked), np.array(true))
        result[str(k)] = {"guess_rate": float(hits.mean()), "groups": len(true)}
    return result
