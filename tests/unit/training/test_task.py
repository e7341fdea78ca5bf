from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.training import Samples

ONE = np.zeros((1, 2), np.float32)
LABEL = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("features", "labels", "reason"),
    [
        (np.zeros((2, 4)), np.zeros(3, np.int64), "2 samples but 3 labels"),
        (np.zeros((0, 4)), np.zeros(0, np.int64), "0 samples but 0 labels"),
        (np.zeros((2, 4)), np.array([0, 10]), "label 10; labels go from 0 to 9"),
        (np.zeros((2, 4)), np.array([0, -1]), "label -1; labels go from 0 to 9"),
        (np.zeros((2, 4)), np.array([0.5, 1.0]), "labels must be whole numbers, one for each sample"),
        (np.zeros((2, 4)), np.zeros((2, 1), np.int64), "labels must be whole numbers, one for each sample"),
        (np.array([[1.0], [np.nan]]), np.zeros(2, np.int64), "NaN or infinity among the samples"),
        (np.array([[1.0], [1e300]]), np.zeros(2, np.int64), "NaN or infinity among the samples"),
        (np.array([["a"]]), LABEL, "NumPy arrays of numbers, not <U1"),
        (np.array([[None]]), LABEL, "NumPy arrays of numbers, not object"),
        ([[1.0]], LABEL, "NumPy arrays of numbers, not list"),
        (ONE, None, "NumPy arrays of numbers, not NoneType"),
        (np.float32(1.0), LABEL, "NumPy arrays of numbers, not float32"),
        (ONE.astype(np.complex64), LABEL, "NumPy arrays of numbers, not complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_data_that_do_not_fit(features: Any, labels: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^here: .*{reason}") as raised:
        Samples(features, labels).checked(10, "here")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given_type", "becomes"),
    [
        (np.uint8, np.uint8),
        (np.bool_, np.uint8),
        (np.int8, np.int64),
        (np.uint16, np.int64),
        (np.int32, np.int64),
        (np.float16, np.float32),
        (np.float64, np.float32),
    ],
)
def test_types_of_features(given_type: Any, becomes: Any) -> None:
    checked = Samples(np.ones((2, 3), given_type), np.array([1, 2], np.uint8)).checked(3, "here")
    assert (checked.features.dtype, checked.labels.dtype) == (becomes, np.int64)
    assert (checked.features == 1).all() and checked.labels.tolist() == [1, 2]


def test_labels_that_are_no_classes_are_floats() -> None:
    checked = Samples(ONE, np.array([[3, 4]])).checked(0, "here")
    assert checked.labels.dtype == np.float32 and checked.labels.shape == (1, 2)


def test_taken_samples_are_a_copy() -> None:
    samples = Samples(np.zeros((3, 4), np.uint8), np.array([1, 2, 3]))
    some = samples.take(np.array([2, 0]))
    assert some.labels.tolist() == [3, 1]
    some.features.fill(9)
    assert not samples.features.any()


@given(st.lists(st.integers(-3, 12), min_size=1, max_size=20))
def test_what_is_accepted_has_labels_in_range(labels: list[int]) -> None:
    samples = Samples(np.zeros((len(labels), 1)), np.array(labels))
    if all(0 <= label < 10 for label in labels):
        assert samples.checked(10, "here").labels.tolist() == labels
    else:
        with pytest.raises(InvalidInputError, match="labels go from 0 to 9"):
            samples.checked(10, "here")
