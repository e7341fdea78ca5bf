from __future__ import annotations

import random

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning import Layout
from peerd.learning.aggregation import Aggregator, Mean, WeightedByAge
from peerd.learning.fragment import Vector
from peerd.types import DropReason

finite = st.floats(-(2.0**40), 2.0**40, width=32)


def cut(vector: Vector, layout: Layout) -> list[tuple[int, Vector]]:
    return [(index, vector[layout.slice(index)]) for index in range(layout.fragments)]


def with_own(mean: Aggregator, layout: Layout, own: Vector) -> Vector:
    return mean.result(lambda index: own[layout.slice(index)], np.full(len(own), 99.0, np.float32))


def test_by_hand(layout: Layout) -> None:
    """Index 0 from two others, index 1 from one, index 2 from nobody."""
    mean = Mean(layout, limit=2)
    assert mean.add(0, np.full(4, 4.0, np.float32)) is None
    assert mean.add(0, np.full(4, 7.0, np.float32)) is None
    assert mean.add(1, np.full(4, 3.0, np.float32)) is None
    assert mean.counts.tolist() == [2, 1, 0]
    assert mean.received(2) == 3
    assert mean.received(1) == 2
    result = with_own(mean, layout, np.ones(10, np.float32))
    np.testing.assert_array_equal(result, [4, 4, 4, 4, 2, 2, 2, 2, 1, 1])
    assert result.dtype == np.float32


def test_who_listens_takes_the_mean_of_the_others(layout: Layout) -> None:
    """Index 0 from two others, index 1 from one, index 2 from nobody: there the model stays."""
    mean = Mean(layout, limit=2)
    mean.add(0, np.full(4, 4.0, np.float32))
    mean.add(0, np.full(4, 7.0, np.float32))
    mean.add(1, np.full(4, 3.0, np.float32))
    result = mean.result(None, np.full(10, 9.0, np.float32))
    np.testing.assert_array_equal(result, [5.5] * 4 + [3] * 4 + [9] * 2)
    assert result.dtype == np.float32


@pytest.mark.parametrize(("kind", "one", "two"), [(Mean, 1 / 2, 1 / 4), (WeightedByAge, 1 / 2, 85 / 256)])
@pytest.mark.parametrize("listening", [False, True])
def test_a_stale_fragment_counts_less_for_each_round_that_it_is_late(
    layout: Layout, kind: type[Mean], one: float, two: float, listening: bool
) -> None:
    mean = kind(layout, limit=2)
    assert mean.add(0, np.full(4, 8.0, np.float32), age=1) is None
    assert mean.add(1, np.full(4, 8.0, np.float32), age=2) is None
    assert mean.add(1, np.full(4, 1.0, np.float32)) is None
    assert (mean.received(2), mean.stale.tolist(), mean.fragments) == (1, [1, 1, 0], 3)
    own = np.full(10, 2.0, np.float32)
    if listening:
        expected = [8] * 4 + [(8 * two + 1) / (1 + two)] * 4 + [2] * 2
        np.testing.assert_array_equal(mean.result(None, own), np.float32(expected))
    else:
        expected = [(2 + 8 * one) / (1 + one)] * 4 + [(2 + 8 * two + 1) / (2 + two)] * 4 + [2] * 2
        np.testing.assert_array_equal(with_own(mean, layout, own), np.float32(expected))


def test_stale_ones_have_a_limit_of_their_own(layout: Layout) -> None:
    mean = Mean(layout, limit=1)
    ones = np.ones(4, np.float32)
    assert [mean.add(0, ones, age) for age in (1, 2, 0, 0)] == [
        None, DropReason.OVER_COUNT, None, DropReason.OVER_COUNT,
    ]  # fmt: skip


@given(st.data())
def test_equals_numpy_whatever_the_order_and_whatever_is_missing(data: st.DataObject) -> None:
    layout = Layout(data.draw(st.integers(1, 60)), data.draw(st.integers(1, 20)))
    peers = data.draw(st.integers(1, 6))
    updates = data.draw(npst.arrays(np.float32, (peers, layout.parameters), elements=finite))
    own, others = updates[0], updates[1:]
    fragments = [piece for update in others for piece in cut(update, layout)]
    arrived = data.draw(st.lists(st.sampled_from(range(len(fragments))), unique=True)) if fragments else []

    mean = Mean(layout, limit=peers - 1)
    for number in arrived:
        assert mean.add(*fragments[number]) is None

    expected = np.empty(layout.parameters)
    for index in range(layout.fragments):
        here = layout.slice(index)
        there = [fragments[number][1] for number in sorted(arrived) if fragments[number][0] == index]
        expected[here] = np.mean(np.stack([own[here], *there]), axis=0, dtype=np.float64)
    result = with_own(mean, layout, own)
    np.testing.assert_allclose(result, expected.astype(np.float32), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("kind", [Mean, WeightedByAge])
@pytest.mark.parametrize("late", [0, 3])
def test_peers_with_the_same_fragments_compute_the_same_bits(kind: type[Mean], late: int) -> None:
    """Each peer adds its own update in another place of the sum, and the rest in its own order. Number 6
    has no update and listens. The `late` first fragments of somebody reach all of them as stale ones."""
    rng = np.random.default_rng(1)
    layout = Layout(5_000, 700)
    updates = rng.normal(0, 0.2, (6, layout.parameters)).astype(np.float32)
    stale = [(*piece, 1 + at) for at, piece in zip(range(late), cut(updates[0] * 3, layout), strict=False)]
    results = set()
    for me in range(7):
        mean = kind(layout, limit=6)
        sent = [piece for peer in range(6) if peer != me for piece in cut(updates[peer], layout)]
        fragments = [(index, values, 0) for index, values in sent] + stale
        random.Random(me).shuffle(fragments)
        for fragment in fragments:
            assert mean.add(*fragment) is None
        listens = me == 6
        model = mean.result(None, updates[0]) if listens else with_own(mean, layout, updates[me])
        results.add(model.tobytes())
    assert len(results) == 1


def test_the_largest_floats_do_not_overflow(layout: Layout) -> None:
    largest = np.finfo(np.float32).max
    own = np.full(10, largest, np.float32)
    for kind in (Mean, WeightedByAge):
        for listening in (False, True):
            mean = kind(layout, limit=3)
            for _ in range(3):
                assert mean.add(0, np.full(4, largest, np.float32)) is None
            assert mean.add(0, np.full(4, largest, np.float32), age=1) is None
            result = mean.result(None, own) if listening else with_own(mean, layout, own)
            np.testing.assert_array_equal(result, own)


def test_memory_is_one_model_of_float64_and_the_result_takes_its_place() -> None:
    layout = Layout(8_000_000, 2_000)
    update = np.ones(layout.parameters, np.float32)
    pieces = cut(update, layout)
    model, resident, seen = 8 * layout.parameters, psutil.Process().memory_info, list[int]()
    before = resident().rss
    mean = Mean(layout, limit=20)
    assert resident().rss - before < 0.1 * model, "nothing has come"
    for _ in range(3):
        for index, values in pieces:
            assert mean.add(index, values) is None
    assert 0.9 * model < resident().rss - before < 1.1 * model

    def own(index: int) -> np.ndarray:
        if index % 500 == 0:
            seen.append(resident().rss - before)
        return pieces[index][1]

    result = mean.result(own, update)
    assert max(seen) < 1.1 * model
    assert 0.4 * model < resident().rss - before < 0.6 * model
    np.testing.assert_array_equal(result, update)
