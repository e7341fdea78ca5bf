"""Values in half a byte: within half a step of their bucket, and a stranger's bytes do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning.encoding.nibbles import BUCKET, STEPS, bytes_of, most, pack, unpack
from peerd.learning.fragment import Vector
from peerd.types import DropReason

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def back(values: Vector) -> Vector:
    result = unpack(pack(values), len(values))
    assert isinstance(result, np.ndarray)
    return result


@given(npst.arrays(np.float32, st.integers(1, 400), elements=finite))
def test_off_by_half_a_step_of_the_own_bucket(values: Vector) -> None:
    result = back(values)
    assert np.isfinite(result).all() and result.dtype == np.float32
    for start in range(0, len(values), BUCKET):
        bucket = values[start : start + BUCKET].astype(np.float64)
        step = float(np.abs(bucket).max()) / STEPS
        error = np.abs(result[start : start + BUCKET] - bucket)
        assert (error <= step * 0.50001 + 1e-44).all()


def test_large_values_do_not_spoil_another_bucket() -> None:
    values = np.concatenate([np.full(BUCKET, 1e6, np.float32), np.linspace(-7, 7, 15, dtype=np.float32)])
    np.testing.assert_array_equal(back(values)[BUCKET:], values[BUCKET:])


@given(st.integers(0, 10_000))
def test_as_many_as_fit(room: int) -> None:
    values = most(room)
    assert bytes_of(values) <= room or values == 0
    assert bytes_of(values + 2) > room


@given(st.integers(1, 300), st.data())
def test_any_bytes_decode_to_something(values: int, data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([bytes_of(values), 0, bytes_of(values) - 1, bytes_of(values) + 1]))
    raw = data.draw(st.binary(min_size=size, max_size=size))
    result = unpack(raw, values)
    if isinstance(result, np.ndarray):
        assert len(raw) == bytes_of(values) and result.shape == (values,)
    else:
        assert result in (DropReason.BAD_FRAGMENT, DropReason.NOT_FINITE)


@pytest.mark.parametrize(
    ("scale", "reason"),
    [(np.nan, DropReason.NOT_FINITE), (np.inf, DropReason.NOT_FINITE), (-1.0, DropReason.BAD_FRAGMENT),
     (-0.0, DropReason.BAD_FRAGMENT)],
)  # fmt: skip
@pytest.mark.parametrize("bucket", [0, 1])
def test_scales_that_are_none(scale: float, reason: DropReason, bucket: int) -> None:
    data = bytearray(pack(np.ones(BUCKET + 1, np.float32)))
    data[4 * bucket : 4 * bucket + 4] = np.float32(scale).astype("<f4").tobytes()
    assert unpack(bytes(data), BUCKET + 1) is reason
