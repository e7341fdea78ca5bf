"""What all aggregators have in common, and what each is for, against a plain NumPy reference."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning import Layout, make_aggregator
from peerd.learning.aggregation import Aggregator
from peerd.learning.fragment import Vector
from peerd.types import DropReason, RunSpec

NAMES = ["mean", "weighted-by-age", "median", "trimmed-mean", "clipped-mean", "krum"]
TRIM, CLIP = 0.3, 1.5
values = st.floats(-1e6, 1e6, width=32)


def make(name: str, layout: Layout, limit: int = 50) -> Aggregator:
    stale = "use" if name == "weighted-by-age" else "drop"
    spec = RunSpec(run_id="0" * 32, task="x", aggregator=name, trim=TRIM, clip=CLIP, stale=stale)  # type: ignore[arg-type]
    return make_aggregator(spec, layout, limit)


def median(rows: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.median(rows, axis=0)


def trimmed(rows: np.ndarray, last: np.ndarray) -> np.ndarray:
    cut = int(TRIM * len(rows))
    return np.array([np.mean(sorted(column)[cut : len(rows) - cut]) for column in rows.T])


def clipped(rows: np.ndarray, last: np.ndarray) -> np.ndarray:
    moves = [row - last for row in rows]
    lengths = [float(np.sqrt(move @ move)) for move in moves]
    radius = CLIP * float(np.median(lengths))
    return last + np.mean(
        [move * min(1.0, radius / length) if length else move
         for move, length in zip(moves, lengths, strict=True)], axis=0,
    )  # fmt: skip


def krum(rows: np.ndarray, last: np.ndarray) -> np.ndarray:
    if len(rows) < 3:
        return rows.mean(axis=0)
    near = max(1, len(rows) - int(TRIM * len(rows)) - 2)
    scores = []
    for at, row in enumerate(rows):
        distances = sorted(float(((row - other) ** 2).sum()) for i, other in enumerate(rows) if i != at)
        scores.append(sum(distances[:near]))
    best = min(scores)
    return min((row for row, score in zip(rows, scores, strict=True) if score == best), key=tuple)


REFERENCE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda rows, last: rows.mean(axis=0),
    "weighted-by-age": lambda rows, last: rows.mean(axis=0),
    "median": median,
    "trimmed-mean": trimmed,
    "clipped-mean": clipped,
    "krum": krum,
}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_equals_the_reference_in_any_order(name: str, data: st.DataObject) -> None:
    """One index; own and others of any number, also none. All orders give the same bits."""
    length = data.draw(st.integers(1, 6))
    rows = data.draw(npst.arrays(np.float32, (data.draw(st.integers(0, 7)), length), elements=values))
    last = data.draw(npst.arrays(np.float32, length, elements=values))
    listens = data.draw(st.booleans()) or not len(rows)
    layout = Layout(length, length)
    results = []
    for _ in range(3):
        order = data.draw(st.permutations(range(len(rows))))
        aggregator = make(name, layout)
        mine = None if listens else order[0]
        for number in order:
            if number != mine:
                assert aggregator.add(0, rows[number]) is None
        own = None if mine is None else (lambda index, at=mine: rows[at])
        results.append(aggregator.result(own, last))
    exact = name not in ("mean", "weighted-by-age")  # magnitudes here differ by more than 2^26
    assert len({result.tobytes() for result in results}) == 1 or not exact
    expected = REFERENCE[name](rows.astype(np.float64), last.astype(np.float64)) if len(rows) else last
    for result in results:
        if name == "krum" and len(rows) >= 3:  # ties by rounding: any of the best will do
            assert result.tobytes() in {row.tobytes() for row in rows}
            continue
        np.testing.assert_allclose(result, expected.astype(np.float32), rtol=1e-5, atol=1e-2)


def test_krum_chooses_as_the_paper_does() -> None:
    """Well apart, so that no tie is near."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        rows = rng.normal(0, 1, (7, 5)).astype(np.float32)
        aggregator = make("krum", Layout(5, 5))
        for row in rows:
            aggregator.add(0, row)
        expected = krum(rows.astype(np.float64), np.zeros(5))
        np.testing.assert_array_equal(aggregator.result(None, None), expected.astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_missing_fragments(name: str, layout: Layout) -> None:
    """Where only the own values are there they stand; where nothing is, the last aggregate."""
    own, last = np.full(10, 3.0, np.float32), np.full(10, 8.0, np.float32)
    one = np.full(4, 3.0, np.float32)
    aggregator = make(name, layout)
    aggregator.add(0, one)
    np.testing.assert_array_equal(aggregator.result(lambda index: own[layout.slice(index)], last), own)
    listener = make(name, layout)
    listener.add(0, one)
    np.testing.assert_array_equal(listener.result(None, last), [3.0] * 4 + [8.0] * 6)
    deltas = make(name, layout)
    deltas.add(0, one)
    np.testing.assert_array_equal(deltas.result(None, None), [3.0] * 4 + [0.0] * 6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("index", "wrong", "reason"),
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
    name: str, layout: Layout, index: int, wrong: Vector, reason: DropReason
) -> None:
    aggregator = make(name, layout)
    assert aggregator.add(index, wrong) is aggregator.add(index, wrong, age=1) is reason
    assert aggregator.fragments == 0
    own = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(aggregator.result(lambda index: own[layout.slice(index)], own), own)


@pytest.mark.parametrize("name", NAMES)
def test_no_index_takes_more_than_the_limit(name: str, layout: Layout) -> None:
    aggregator = make(name, layout, limit=1)
    ones = np.ones(4, np.float32)
    assert aggregator.add(0, ones) is None
    assert aggregator.add(0, ones * 100) is DropReason.OVER_COUNT
    assert aggregator.add(1, ones) is None
    own = np.ones(10, np.float32)
    np.testing.assert_array_equal(aggregator.result(lambda index: own[layout.slice(index)], own), own)


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_floats_stay_finite(name: str, layout: Layout) -> None:
    largest = np.full(4, np.finfo(np.float32).max, np.float32)
    for factor in (1.0, -1.0):
        aggregator = make(name, layout)
        for row in (largest, largest, -largest, largest):
            assert aggregator.add(0, row) is None
        assert np.isfinite(aggregator.result(None, np.full(10, factor * largest[0], np.float32))).all()


@pytest.mark.parametrize(
    ("name", "most"),
    [("mean", 1e3), ("median", 1.0), ("trimmed-mean", 1.0), ("clipped-mean", 1.0), ("krum", 1.0)],
)
def test_one_of_six_sends_poison(name: str, most: float) -> None:
    """How far the aggregate is from the honest mean, when one sends the negative, enlarged 10^5 times. For
    the mean it is as far as the attacker likes; for the others no more than honest updates differ."""
    rng = np.random.default_rng(7)
    layout = Layout(1_000, 100)
    direction = rng.normal(0, 1, layout.parameters)
    updates = (direction + rng.normal(0, 1, (6, layout.parameters))).astype(np.float32)
    honest = updates[:5].mean(axis=0)
    updates[5] = -1e5 * honest
    aggregator = make(name, layout)
    letters = [(index, row[layout.slice(index)]) for row in updates[1:] for index in range(layout.fragments)]
    random.Random(1).shuffle(letters)
    for index, part in letters:
        assert aggregator.add(index, part) is None
    zeros = np.zeros(layout.parameters, np.float32)
    result = aggregator.result(lambda index: updates[0][layout.slice(index)], zeros)
    distance = float(np.sqrt(np.mean((result - honest) ** 2)))
    assert distance > most if name == "mean" else distance < most
