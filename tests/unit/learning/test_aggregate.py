from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning import Layout, Mean, cut
from peerd.types import DropReason

finite = st.floats(-(2.0**40), 2.0**40, width=32)


def test_by_hand(layout: Layout) -> None:
    """Index 0 from two others, index 1 from one, index 2 from nobody."""
    mean = Mean(layout, limit=2)
    assert mean.add(0, np.full(4, 4.0, np.float32)) is None
    assert mean.add(0, np.full(4, 7.0, np.float32)) is None
    assert mean.add(1, np.full(4, 3.0, np.float32)) is None
    result = mean.result(np.ones(10, np.float32))
    np.testing.assert_array_equal(result, [4, 4, 4, 4, 2, 2, 2, 2, 1, 1])
    assert result.dtype == np.float32
    assert mean.counts.tolist() == [2, 1, 0]
    assert mean.received(2) == 3
    assert mean.received(1) == 2


def test_who_listens_takes_the_mean_of_the_others(layout: Layout) -> None:
    """Index 0 from two others, index 1 from one, index 2 from nobody: there the model stays."""
    mean = Mean(layout, limit=2)
    mean.add(0, np.full(4, 4.0, np.float32))
    mean.add(0, np.full(4, 7.0, np.float32))
    mean.add(1, np.full(4, 3.0, np.float32))
    result = mean.of_others(np.full(10, 9.0, np.float32))
    np.testing.assert_array_equal(result, [5.5] * 4 + [3] * 4 + [9] * 2)
    assert result.dtype == np.float32


def test_a_stale_fragment_counts_half_for_each_round_that_it_is_late(layout: Layout) -> None:
    mean = Mean(layout, limit=2)
    assert mean.add(0, np.full(4, 8.0, np.float32), age=1) is None
    assert mean.add(1, np.full(4, 8.0, np.float32), age=2) is None
    assert mean.add(1, np.full(4, 1.0, np.float32)) is None
    own = np.full(10, 2.0, np.float32)
    expected = [(2 + 8 / 2) / 1.5] * 4 + [(2 + 8 / 4 + 1) / 2.25] * 4 + [2] * 2
    np.testing.assert_array_equal(mean.result(own), np.float32(expected))
    np.testing.assert_array_equal(
        mean.of_others(own), np.float32([8] * 4 + [(8 / 4 + 1) / 1.25] * 4 + [2] * 2)
    )
    assert (mean.received(2), mean.stale.tolist(), mean.fragments) == (1, [1, 1, 0], 3)


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
    np.testing.assert_allclose(mean.result(own), expected.astype(np.float32), rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("late", [0, 3])
def test_peers_with_the_same_fragments_compute_the_same_bits(late: int) -> None:
    """Each peer adds its own update in another place of the sum, and the rest in its own order. Number 6
    has no update and listens. The `late` first fragments of somebody reach all of them as stale ones."""
    rng = np.random.default_rng(1)
    layout = Layout(5_000, 700)
    updates = rng.normal(0, 0.2, (6, layout.parameters)).astype(np.float32)
    stale = [(*piece, 1 + at) for at, piece in zip(range(late), cut(updates[0] * 3, layout), strict=False)]
    results = set()
    for me in range(7):
        mean = Mean(layout, limit=6)
        sent = [piece for peer in range(6) if peer != me for piece in cut(updates[peer], layout)]
        fragments = [(index, values, 0) for index, values in sent] + stale
        random.Random(me).shuffle(fragments)
        for fragment in fragments:
            assert mean.add(*fragment) is None
        model = mean.of_others(np.zeros(5_000, np.float32)) if me == 6 else mean.result(updates[me])
        results.add(model.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    ("index", "values", "reason"),
    [
        (-1, np.ones(4, np.float32), DropReason.BAD_FRAGMENT),
        (3, np.ones(4, np.float32), DropReason.BAD_FRAGMENT),
        (2**32 - 1, np.ones(4, np.float32), DropReason.BAD_FRAGMENT),
        (0, np.ones(3, np.float32), DropReason.BAD_FRAGMENT),
        (0, np.ones(5, np.float32), DropReason.BAD_FRAGMENT),
        (2, np.ones(4, np.float32), DropReason.BAD_FRAGMENT),
        (0, np.array([1, 2, np.nan, 4], np.float32), DropReason.NOT_FINITE),
        (2, np.array([1, np.inf], np.float32), DropReason.NOT_FINITE),
        (2, np.array([-np.inf, 1], np.float32), DropReason.NOT_FINITE),
    ],
)
def test_what_is_refused_leaves_no_trace(
    layout: Layout, index: int, values: np.ndarray, reason: DropReason
) -> None:
    mean = Mean(layout, limit=5)
    assert mean.add(index, values) is mean.add(index, values, age=1) is reason
    own = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(mean.result(own), own)
    np.testing.assert_array_equal(mean.of_others(own), own)
    assert mean.fragments == 0


def test_no_index_takes_more_than_the_limit(layout: Layout) -> None:
    mean = Mean(layout, limit=1)
    ones = np.ones(4, np.float32)
    assert mean.add(0, ones) is None
    assert mean.add(0, ones * 100) is DropReason.OVER_COUNT
    assert mean.add(1, ones) is None
    np.testing.assert_array_equal(mean.result(np.ones(10, np.float32)), np.ones(10))


def test_the_largest_floats_do_not_overflow(layout: Layout) -> None:
    largest = np.finfo(np.float32).max
    mean = Mean(layout, limit=3)
    for _ in range(3):
        assert mean.add(0, np.full(4, largest, np.float32)) is None
    assert mean.add(0, np.full(4, largest, np.float32), age=1) is None
    own = np.full(10, largest, np.float32)
    for result in (mean.result(own), mean.of_others(own)):
        np.testing.assert_array_equal(result, own)
