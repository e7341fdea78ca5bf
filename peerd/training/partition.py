"""Which samples belong to which peer. Every peer computes the same division from the run's seed, and
takes its own part; every sample is in exactly one shard, and no shard is empty.

`own` is the real case and no division at all: each host's folder is its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError
from peerd.training.task import Indices
from peerd.types import RunSpec


def divide(spec: RunSpec, labels: NDArray[np.generic], classes: int, shards: int) -> list[Indices]:
    """Indices of each shard's samples; with `own` there is one, this host's. Raises InvalidInputError."""
    if spec.partition in ("dirichlet", "shards") and not classes:
        raise InvalidInputError(f"partition {spec.partition}: this task's labels are no classes")
    match spec.partition:
        case "iid":
            return iid(len(labels), shards, spec.seed)
        case "dirichlet":
            return dirichlet(labels.astype(np.int64), shards, spec.alpha, spec.seed)
        case "shards":
            return by_class(labels.astype(np.int64), shards, spec.classes_per_peer, spec.seed)
        case "quantity":
            return quantity(len(labels), shards, spec.alpha, spec.seed)
        case "own":
            return [np.arange(len(labels))]


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


def by_class(labels: Indices, shards: int, classes_per_peer: int, seed: int) -> list[Indices]:
    """Samples sorted by class, cut into `shards * classes_per_peer` equal slices, and as many slices for each
    peer, drawn at random (McMahan et al. 2017, section 3: two for each). A slice that lies across a border
    has samples of more than one class."""
    slices = shards * classes_per_peer
    _check(len(labels), shards)
    if slices > len(labels):
        raise InvalidInputError(
            f"{len(labels)} samples cannot be cut into {shards} x {classes_per_peer} slices by class"
        )
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(len(labels))
    pieces = np.array_split(mixed[np.argsort(labels[mixed], kind="stable")], slices)
    hands = rng.permutation(slices).reshape(shards, classes_per_peer)
    return [np.sort(np.concatenate([pieces[piece] for piece in hand])) for hand in hands]


def quantity(samples: int, shards: int, alpha: float, seed: int) -> list[Indices]:
    """All peers have the same mixture of classes but unlike amounts: sizes by one draw from Dirichlet(alpha)
    (Li et al. 2022, quantity skew), at least one sample each."""
    _check(samples, shards)
    rng = np.random.default_rng(seed)
    order = rng.permutation(samples)
    ends = np.round(np.cumsum(_shares(rng, alpha, shards))[:-1] * (samples - shards)).astype(np.int64)
    return [np.sort(part) for part in np.split(order, ends + np.arange(1, shards))]


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
