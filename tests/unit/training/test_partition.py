from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.training.partition import by_class, dirichlet, divide, iid, quantity
from peerd.training.task import Indices
from peerd.types import RunSpec

seeds = st.integers(0, 2**63 - 1)


def check(parts: list[Indices], samples: int, shards: int) -> None:
    """Every sample in exactly one shard, no shard empty."""
    assert len(parts) == shards
    assert all(len(part) for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(samples))


@given(st.integers(1, 300), st.data(), seeds)
def test_iid_divides(samples: int, data: st.DataObject, seed: int) -> None:
    shards = data.draw(st.integers(1, samples))
    parts = iid(samples, shards, seed)
    check(parts, samples, shards)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=200),
    st.data(),
    st.sampled_from([1e-300, 1e-6, 0.01, 0.5, 1.0, 100.0, 1e6]),
    seeds,
)
@settings(max_examples=200, deadline=None)
def test_dirichlet_divides(labels: list[int], data: st.DataObject, alpha: float, seed: int) -> None:
    shards = data.draw(st.integers(1, len(labels)))
    check(dirichlet(np.array(labels), shards, alpha, seed), len(labels), shards)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.data(), st.integers(1, 12), seeds)
def test_slices_by_class_divide(labels: list[int], data: st.DataObject, classes: int, seed: int) -> None:
    shards = data.draw(st.integers(1, len(labels)))
    if shards * classes > len(labels):
        with pytest.raises(InvalidInputError, match=f"cannot be cut into {shards} x {classes} slices"):
            by_class(np.array(labels), shards, classes, seed)
        return
    parts = by_class(np.array(labels), shards, classes, seed)
    check(parts, len(labels), shards)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= classes


def test_slices_that_fit_the_classes_give_each_peer_so_many() -> None:
    """McMahan's own figures, a tenth of them: 6,000 samples, 20 slices of 300, two for each of ten peers."""
    labels = np.arange(6_000) % 10
    for part in by_class(labels, 10, 2, seed=1):
        assert len(part) == 600
        assert len(np.unique(labels[part])) <= 2


@given(st.integers(1, 300), st.data(), st.sampled_from([1e-300, 1e-6, 0.01, 0.5, 1.0, 100.0, 1e6]), seeds)
@settings(max_examples=200, deadline=None)
def test_quantities_divide(samples: int, data: st.DataObject, alpha: float, seed: int) -> None:
    shards = data.draw(st.integers(1, samples))
    check(quantity(samples, shards, alpha, seed), samples, shards)


def test_a_small_alpha_makes_amounts_differ() -> None:
    def largest(alpha: float) -> int:
        return max(len(part) for part in quantity(6_000, 6, alpha, seed=3))

    assert largest(1e6) == pytest.approx(1_000, rel=0.01)
    assert largest(0.1) > 3_000


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "shards", "quantity", "own"])
def test_every_partition_is_one_of_these(partition: str) -> None:
    spec = RunSpec(run_id="0" * 32, task="x", partition=partition, seed=5)  # type: ignore[arg-type]
    labels = (np.arange(100) % 10).astype(np.uint8)
    parts = divide(spec, labels, 10, 4)
    check(parts, 100, 1 if partition == "own" else 4)
    again = divide(spec, labels, 10, 4)
    assert [part.tolist() for part in parts] == [part.tolist() for part in again]


@given(seeds)
def test_a_seed_always_divides_in_the_same_way(seed: int) -> None:
    labels = np.arange(100) % 10
    for parts, again in (
        (iid(100, 6, seed), iid(100, 6, seed)),
        (dirichlet(labels, 6, 0.5, seed), dirichlet(labels, 6, 0.5, seed)),
    ):
        assert [part.tolist() for part in parts] == [part.tolist() for part in again]


def test_another_seed_divides_otherwise() -> None:
    assert iid(100, 6, 0)[0].tolist() != iid(100, 6, 1)[0].tolist()


def test_a_small_alpha_makes_peers_differ() -> None:
    """How much of a shard is its most frequent class: a tenth where all are alike."""
    labels = np.arange(6_000) % 10

    def purity(alpha: float) -> float:
        parts = dirichlet(labels, 6, alpha, seed=3)
        shares = [np.bincount(labels[part], minlength=10).max() / len(part) for part in parts]
        return float(np.mean(shares))

    assert purity(1e6) == pytest.approx(0.1, abs=0.01)
    assert 0.2 < purity(0.5) < 0.6
    assert purity(0.01) > 0.5


@pytest.mark.parametrize(("samples", "shards"), [(3, 4), (3, 0), (0, 1)])
def test_more_peers_than_samples_is_refused(samples: int, shards: int) -> None:
    for attempt in (
        lambda: iid(samples, shards, 0),
        lambda: dirichlet(np.zeros(samples, np.int64), shards, 0.5, 0),
    ):
        with pytest.raises(InvalidInputError, match="cannot be divided among"):
            attempt()
