from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from peerd.learning import (
    Cover,
    Fragment,
    Layout,
    Rejected,
    decode_payload,
    encode_fragment,
    fragment_place,
    fragment_values,
    parcel,
)
from peerd.learning.fragment import MAX_PAYLOAD
from peerd.pb import payload_pb2
from peerd.types import DropReason

layouts = st.builds(Layout, st.integers(1, 400), st.integers(1, 90))


def test_the_last_fragment_is_shorter(layout: Layout) -> None:
    assert layout.fragments == 3
    assert [layout.slice(index) for index in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 10)]


@pytest.mark.parametrize("index", [-1, 3, 2**32 - 1])
def test_no_slice_outside_the_vector(layout: Layout, index: int) -> None:
    with pytest.raises(IndexError):
        layout.slice(index)


@pytest.mark.parametrize(("parameters", "values"), [(0, 4), (-1, 4), (10, 0)])
def test_impossible_layouts(parameters: int, values: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Layout(parameters, values)


@given(layouts)
def test_the_slices_are_the_vector(layout: Layout) -> None:
    vector = np.arange(layout.parameters, dtype=np.float32)
    pieces = [vector[layout.slice(index)] for index in range(layout.fragments)]
    assert all(1 <= len(values) <= layout.fragment_values for values in pieces)
    np.testing.assert_array_equal(np.concatenate(pieces), vector)


@given(
    st.integers(0, 2**64 - 1),
    st.integers(1, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    npst.arrays(np.float32, st.integers(1, 300)),
)
def test_decoding_what_was_encoded(run: int, round: int, index: int, values: np.ndarray) -> None:
    decoded = decode_payload(encode_fragment(run, round, index, values))
    assert isinstance(decoded, Fragment)
    assert (decoded.run, decoded.round, decoded.index) == (run, round, index)
    assert decoded.data == values.astype("<f4").tobytes() and not decoded.of_model


@given(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.tuples(st.integers(0, 2**64 - 1), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
def test_a_place_names_a_fragment_whatever_its_values(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    place = fragment_place(encode_fragment(*one, np.ones(3, np.float32)))
    assert len(place) == 16
    assert place == fragment_place(encode_fragment(*one, np.zeros(5, np.float32)))
    assert (place == fragment_place(encode_fragment(*other, np.ones(3, np.float32)))) is (one == other)


def test_a_slice_of_a_model_has_another_place_than_one_of_an_update() -> None:
    values = np.ones(3, np.float32)
    ahead = parcel(7, 2, 5, lambda: values, of_model=True)
    payload = ahead.make()
    decoded = decode_payload(payload)
    assert isinstance(decoded, Fragment) and decoded.of_model
    assert ahead.place == fragment_place(payload) != parcel(7, 2, 5, lambda: values).place


def test_a_parcel_is_made_when_it_leaves() -> None:
    asked = []
    made = parcel(7, 1, 3, lambda: asked.append(1) or b"abc")  # type: ignore[func-returns-value]
    assert made.place == fragment_place(encode_fragment(7, 1, 3, b"xyz")) and not asked
    assert made.make() == encode_fragment(7, 1, 3, b"abc") and asked


def test_a_payload_without_a_fragment_has_no_place() -> None:
    with pytest.raises(ValueError, match="no fragment"):
        fragment_place(b"")


@given(st.integers(27, MAX_PAYLOAD))
def test_a_fragment_fills_its_payload_and_not_more(payload_bytes: int) -> None:
    count = fragment_values(payload_bytes)
    for extra, fits in ((0, True), (1, False)):
        values = np.ones(count + extra, np.float32)
        encoded = encode_fragment(2**64 - 1, 2**32 - 1, 2**32 - 1, values)
        assert (len(encoded) <= payload_bytes) is fits


@pytest.mark.parametrize("payload_bytes", [-5, 0, 26])
def test_a_payload_without_room(payload_bytes: int) -> None:
    with pytest.raises(ValueError, match="no room"):
        fragment_values(payload_bytes)


def test_an_empty_payload_is_cover() -> None:
    assert decode_payload(b"") == Cover()
    assert decode_payload(payload_pb2.Payload().SerializeToString()) == Cover()


def test_encoded_fragments_of_one_length_have_one_size() -> None:
    """Neither the run nor the round nor the index nor the content shows in the size. Index 0 alone is
    shorter, as protobuf omits zeros; the message is padded anyhow."""
    sizes = {
        len(encode_fragment(run, round, index, np.full(9, value, np.float32)))
        for run in (1, 2**63)
        for round in (1, 2**31)
        for index in (1, 2**31)
        for value in (0.0, 1.0)
    }
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("fragment", "reason"),
    [
        ({"run": 7, "round": 1, "index": 0, "values": b""}, DropReason.BAD_FRAGMENT),
        ({"run": 7, "round": 0, "index": 0, "values": b"1234"}, DropReason.BAD_FRAGMENT),
    ],
)
def test_malformed_fragments(fragment: dict[str, object], reason: DropReason) -> None:
    payload = payload_pb2.Payload(fragment=payload_pb2.Fragment(**fragment))  # type: ignore[arg-type]
    assert decode_payload(payload.SerializeToString()) == Rejected(reason)


def test_payloads_that_are_none() -> None:
    unknown_field = b"\x7a\x03abc"
    for data in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", unknown_field, b"\x00" * (MAX_PAYLOAD + 1)):
        assert decode_payload(data) == Rejected(DropReason.BAD_PAYLOAD)


@given(st.binary(max_size=200))
def test_any_bytes_decode_to_something(data: bytes) -> None:
    match decode_payload(data):
        case Fragment(round=round, data=values):
            assert round >= 1 and len(values) >= 1
        case Cover():
            assert data == b""
        case Rejected(reason=reason):
            assert reason in (DropReason.BAD_PAYLOAD, DropReason.BAD_FRAGMENT)


@given(st.data())
def test_flipped_bits_never_raise(data: st.DataObject) -> None:
    encoded = bytearray(encode_fragment(7, 1, 2, np.ones(20, np.float32)))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(decode_payload(bytes(encoded)), Fragment | Cover | Rejected)
