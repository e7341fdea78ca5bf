"""Every encoding: what comes out is what went in, within its error; a stranger's bytes do no harm."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning import Encoding, encode_fragment, make_encoding
from peerd.learning.encoding import nibbles
from peerd.learning.encoding.sparse import _mask
from peerd.learning.fragment import Vector, data_room
from peerd.types import DropReason, RunSpec

NAMES = ["float32", "float16", "bfloat16", "int8", "top-k", "random-mask"]
DENSE, SPARSE = NAMES[:4], NAMES[4:]
DEFAULT_PAYLOAD = 7894
"""Bytes, of a network with the default geometry."""
MNIST, STATISTICS = 94_634, 448
ROOMY = st.integers(64, 3_000)

names = st.sampled_from(NAMES)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
small = st.floats(-8.0, 8.0, width=32)


def make(name: str, payload_bytes: int = DEFAULT_PAYLOAD, density: float = 0.3) -> Encoding:
    spec = RunSpec(run_id="0" * 32, task="x", encoding=name, density=density)  # type: ignore[arg-type]
    return make_encoding(spec, payload_bytes)


def encoded(encoding: Encoding, values: Vector, seed: int = 1) -> bytes:
    data = encoding.encode(values, random.Random(seed))
    return data if isinstance(data, bytes) else data.astype("<f4").tobytes()


def decoded(encoding: Encoding, values: Vector, seed: int = 1) -> Vector:
    result = encoding.decode(encoded(encoding, values, seed), len(values))
    assert isinstance(result, np.ndarray) and result.dtype == np.float32 and result.shape == values.shape
    return result


# -- sizes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fragments"),
    [("float32", 49), ("float16", 25), ("bfloat16", 25), ("int8", 13), ("top-k", 5), ("random-mask", 3)],
)
def test_fragments_of_mnist_cnn_in_default_packets(name: str, fragments: int) -> None:
    """Those of its statistics included."""
    assert make(name).layout(MNIST, STATISTICS).fragments == fragments


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_what_must_be_exact_is_at_the_end_and_by_itself(name: str, data: st.DataObject) -> None:
    payload, parameters = data.draw(ROOMY), data.draw(st.integers(2, 20_000))
    exact = data.draw(st.integers(0, parameters - 1))
    layout = make(name, payload).layout(parameters, exact)
    cut = [layout.slice(index) for index in range(layout.fragments)]
    assert cut[0].start == 0 and cut[-1].stop == parameters == layout.parameters
    assert all(one.stop == other.start for one, other in pairwise(cut))
    apart = [where for index, where in enumerate(cut) if layout.is_exact(index)]
    if name in ("int8", *SPARSE):
        assert exact <= sum(where.stop - where.start for where in apart) <= exact + data_room(payload) // 4
        assert all(4 * (where.stop - where.start) <= data_room(payload) for where in apart)
        assert not exact or apart[0].start <= parameters - exact
    else:
        assert apart == []  # exact enough


@given(names, ROOMY, st.integers(1, 20_000), st.floats(0.01, 1.0))
def test_no_fragment_is_larger_than_its_packet(
    name: str, payload_bytes: int, parameters: int, density: float
) -> None:
    """And where there are several, the first fills it, but for less than one more value."""
    encoding = make(name, payload_bytes, density)
    layout = encoding.layout(parameters)
    assert (
        sum(len(range(*layout.slice(i).indices(parameters))) for i in range(layout.fragments)) == parameters
    )
    vector = np.random.default_rng(1).normal(size=parameters).astype(np.float32)
    for index in {0, layout.fragments - 1}:
        data = encoded(encoding, vector[layout.slice(index)])
        assert len(encode_fragment(2**64 - 1, 2**32 - 1, 2**32 - 1, data)) <= payload_bytes
    if layout.fragments > 1 and name in DENSE:
        assert data_room(payload_bytes) - len(encoded(encoding, vector[layout.slice(0)])) < 4


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("density", [0.05, 0.1, 0.3])
def test_at_least_so_many_are_sent_and_the_packet_is_full(name: str, density: float) -> None:
    encoding = make(name, density=density)
    layout = encoding.layout(25_000_000)
    values = np.random.default_rng(1).normal(size=layout.fragment_values).astype(np.float32)
    data = encoded(encoding, values)
    assert data_room(DEFAULT_PAYLOAD) - len(data) < 6
    sent = np.count_nonzero(decoded(encoding, values))
    assert sent >= 0.8 * density * len(values)  # some are rounded to zero


def test_a_span_is_never_wider_than_offsets_reach() -> None:
    assert make("top-k", 30_000, density=0.001).layout(10**7).fragment_values <= 2**16


@pytest.mark.parametrize("name", NAMES)
def test_a_payload_without_room(name: str) -> None:
    with pytest.raises(ValueError, match="no room"):
        make(name, 23).layout(10)


# -- there and back -----------------------------------------------------------------------


@given(npst.arrays(np.float32, st.integers(1, 300), elements=finite))
def test_float32_is_exact(values: Vector) -> None:
    assert decoded(make("float32"), values).tobytes() == values.tobytes()


@given(npst.arrays(np.float32, st.integers(1, 300), elements=finite))
def test_halves_are_the_nearest_and_saturate(values: Vector) -> None:
    clipped = values.clip(-65504, 65504)
    assert (np.abs(decoded(make("float16"), values) - clipped) <= np.abs(clipped) * 2.0**-11 + 2.0**-25).all()
    largest = np.uint32(0x7F7F0000).view(np.float32)
    back = decoded(make("bfloat16"), values)
    assert np.isfinite(back).all()
    error = np.abs(back.astype(np.float64) - values.clip(-largest, largest))
    assert (error <= np.abs(values.astype(np.float64)) * 2.0**-8 + 1e-40).all()


@given(npst.arrays(np.float32, st.integers(1, 300), elements=finite), st.integers(0, 9))
def test_int8_is_off_by_less_than_a_step(values: Vector, seed: int) -> None:
    back = decoded(make("int8"), values, seed)
    assert np.isfinite(back).all()
    step = float(np.abs(values.astype(np.float64)).max()) / 127
    assert (np.abs(back.astype(np.float64) - values) <= step * 1.001 + 1e-37).all()


def test_int8_is_unbiased() -> None:
    """The mean of many roundings is the value: a z-test, of 100 values."""
    values = np.random.default_rng(1).normal(size=100).astype(np.float32)
    many = np.stack([decoded(make("int8"), values, seed) for seed in range(2_000)]).astype(np.float64)
    step = float(np.abs(values).max()) / 127
    assert (np.abs(many.mean(axis=0) - values) < 5 * step / 2 / np.sqrt(2_000)).all()
    assert (many.std(axis=0) > 0).sum() > 90


@pytest.mark.parametrize("name", SPARSE)
@given(data=st.data())
def test_what_is_sent_is_right_and_the_rest_is_zero(name: str, data: st.DataObject) -> None:
    payload, density = data.draw(ROOMY), data.draw(st.floats(0.02, 1.0))
    encoding = make(name, payload, density)
    length = encoding.layout(data.draw(st.integers(1, 5_000))).fragment_values
    values = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=length).astype(np.float32)
    back = decoded(encoding, values)
    step = float(np.abs(values).max()) / nibbles.STEPS
    sent = back != 0
    assert (np.abs(back - values)[sent] <= step / 2 * 1.001).all()
    if name == "top-k" and not sent.all():
        assert np.abs(values[~sent]).max() <= np.abs(values[sent]).min(initial=np.inf) + step


@given(st.binary(min_size=16, max_size=16), st.integers(1, 500), st.integers(0, 2_000))
def test_a_mask_is_in_order_and_in_the_span(seed: bytes, kept: int, more: int) -> None:
    mask = _mask(seed, kept, kept + more)
    assert mask.shape == (kept,) and mask[0] >= 0 and mask[-1] < kept + more
    assert (np.diff(mask) > 0).all()


def test_a_mask_is_fresh_for_every_fragment_and_covers_all_places_alike() -> None:
    """Masks of one sender have no more in common than chance: of 1,000 places each draws a tenth."""
    rng = random.Random(5)
    encoding = make("random-mask", 100, density=0.1)
    kept = encoding._most  # type: ignore[attr-defined]
    masks = []
    for _ in range(1_000):
        data = encoding.encode(np.ones(1_000, np.float32), rng)
        assert isinstance(data, bytes)
        back = encoding.decode(data, 1_000)
        assert isinstance(back, np.ndarray)
        masks.append(back != 0)
    drawn = np.stack(masks)
    assert (drawn.sum(axis=1) == kept).all()
    often = drawn.mean(axis=0)
    assert abs(often - kept / 1_000).max() < 0.05
    common = (drawn[:-1] & drawn[1:]).sum(axis=1).mean()
    assert abs(common - kept * kept / 1_000) < 0.1 * kept


# -- strangers ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_bytes_decode_to_something(name: str, data: st.DataObject) -> None:
    payload = data.draw(ROOMY)
    encoding = make(name, payload)
    length = data.draw(st.integers(1, encoding.layout(10_000).fragment_values))
    good = len(encoded(encoding, np.ones(length, np.float32)))
    raw = data.draw(st.one_of(st.binary(max_size=200), st.binary(min_size=good, max_size=good)))
    result = encoding.decode(raw, length)
    if isinstance(result, np.ndarray):
        assert len(raw) == good and result.dtype == np.float32 and result.shape == (length,)
    else:
        assert result in (DropReason.BAD_FRAGMENT, DropReason.NOT_FINITE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_wrong_lengths_are_refused(name: str, change: int) -> None:
    encoding = make(name, 200)
    data = encoded(encoding, np.ones(30, np.float32))
    raw = data[:change] if change < 0 else data + bytes(change)
    assert encoding.decode(raw, 30) is encoding.decode(b"", 30) is DropReason.BAD_FRAGMENT


def wrong_scale(name: str, scale: float) -> Any:
    encoding = make(name, 200)
    data = bytearray(encoded(encoding, np.ones(30, np.float32)))
    at = {"random-mask": 16, "top-k": 4}.get(name, 0)  # behind a seed, or a bitmap of 30
    data[at : at + 4] = np.float32(scale).astype("<f4").tobytes()
    return encoding.decode(bytes(data), 30)


@pytest.mark.parametrize("name", ["int8", *SPARSE])
def test_scales_that_are_none(name: str) -> None:
    assert wrong_scale(name, np.nan) is wrong_scale(name, np.inf) is DropReason.NOT_FINITE
    assert wrong_scale(name, -1.0) is wrong_scale(name, -0.0) is DropReason.BAD_FRAGMENT
    assert np.isinf(wrong_scale(name, 3e38)).any()  # the aggregator refuses it as not finite


def test_a_bitmap_with_another_number_of_bits_is_refused() -> None:
    encoding = make("top-k", 200)
    length = encoding.layout(10_000).fragment_values
    data = encoded(encoding, np.random.default_rng(1).normal(size=length).astype(np.float32))
    for flip in range(-(-length // 8)):
        changed = bytearray(data)
        changed[flip] ^= 1
        assert encoding.decode(bytes(changed), length) is DropReason.BAD_FRAGMENT
    beyond = bytearray(data)
    last = -(-length // 8) - 1
    if length % 8:  # one bit beyond the end for one within
        beyond[last] |= 0x80
        assert encoding.decode(bytes(beyond), length) is DropReason.BAD_FRAGMENT


@pytest.mark.parametrize(
    "offsets", [[0, 0, 5], [5, 4, 6], [0, 1, 2_000], [2_000, 1, 2], [1, 2, 65_535]]
)  # fmt: skip
def test_offsets_out_of_order_twice_or_beyond_are_refused(offsets: list[int]) -> None:
    """A packet with room for three of two thousand."""
    encoding = make("top-k", 13 + 23, density=0.0015)
    length = 2_000
    good = nibbles.pack(np.ones(3, np.float32))
    fine = np.array([0, 7, 1_999], "<u2").tobytes() + good
    assert isinstance(encoding.decode(fine, length), np.ndarray)
    raw = np.array(offsets, "<u2").tobytes() + good
    assert encoding.decode(raw, length) is DropReason.BAD_FRAGMENT
