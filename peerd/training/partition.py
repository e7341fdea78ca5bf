"""Which samples belong to which peer. Every peer computes the same division from the run's seed, and
takes its own part; every sample is in exactly one shard, and no shard is empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError

Indices = NDArray[np.int64]


def iid(samples: int, shards: int, seed: int) -> list[Indices]:
    """A random division into shards whose sizes differ by one at most."""
    _check(samples, shards)
    order = np.random.default_rng(seed).permutation(samples)
    return [np.sort(part) for part in np.array_split(order, shards)]


def dirichlet(labels: Indices, shards: int, alpha: float, seed: int) -> list[Indices]:
    """Each class is divided by its own draw from Dirichlet(alpha) (Hsu et al. 2019): the smaller alpha,
    the fewer classes a peer sees. A shard left empty takes a sample from the largest."""
    _check(len(labels), shards)
    rng = np.random.default_rng(seed)
    parts: list[list[Indices]] = [[] for _ in range(shards)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = _shares(rng, alpha, shards)
        cuts = np.round(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    joined = [np.concatenate(part) for part in parts]
    for empty in [number for number, part in enumerate(joined) if not len(part)]:
        largest = max(range(shards), key=lambda number: len(joined[number]))
        joined[empty], joined[largest] = joined[largest][:1], joined[largest][1:]
    return [np.sort(part) for part in joined]


def _shares(rng: np.random.Generator, alpha: float, shards: int) -> NDArray[np.float64]:
    """For a tiny alpha all gamma variates may underflow to zero: then one shard takes the class."""
    shares: NDArray[np.float64] = rng.gamma(alpha, size=shards)
    if not shares.any():
        shares[rng.integers(shards)] = 1.0
    shares /= shares.sum()
    return shares


def _check(samples: int, shards: int) -> None:
    if not 1 <= shards <= samples:
        raise InvalidInputError(f"{samples} samples cannot be divided among {shards} peers")
