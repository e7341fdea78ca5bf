from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from petlib.pack import encode
from sphinxmix.SphinxClient import pad_body

from peerd.sphinx import Geometry
from peerd.sphinx.geometry import DESTINATION, MAX_BODY_BYTES, MAX_HOPS, MIN_BODY_BYTES

bodies = st.integers(MIN_BODY_BYTES, MAX_BODY_BYTES)


def test_the_default_s_numbers_by_hand():
    geometry = Geometry()
    assert (geometry.max_hops, geometry.body_bytes) == (5, 8192)
    assert geometry.beta_bytes == 5 * (1 + 1 + 16 + 4 + 16) + 1 + 1 + 16 == 208
    assert geometry.header_bytes == 32 + 208 + 16 == 256
    assert geometry.packet_bytes == 256 + 8192
    assert geometry.message_bytes == 8192 - 16 - 7 - 1
    assert geometry.reply_bytes == 8192 - 16 - 1
    assert geometry.surb_bytes == 16 + 256 + 16


def check_payload(geometry: Geometry) -> None:
    size = geometry.body_bytes - 16
    message = bytes(geometry.message_bytes)
    payload = geometry.payload_prefix + message + geometry.payload_suffix
    assert payload == pad_body(size, encode((DESTINATION, message)))
    assert len(encode((DESTINATION, message + b"\0"))) + 1 > size, "a longer message would fit"


@given(bodies)
def test_the_payload_is_stock_sphinxmix_s_with_the_longest_message_that_fits(body_bytes):
    check_payload(Geometry(body_bytes=body_bytes))


@pytest.mark.parametrize("body_bytes", [*range(64, 70), *range(270, 290), 65_535, 65_536])
def test_the_payload_at_the_edges_of_msgpack_s_prefixes(body_bytes):
    check_payload(Geometry(body_bytes=body_bytes))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_hops": 0},
        {"max_hops": MAX_HOPS + 1},
        {"body_bytes": MIN_BODY_BYTES - 1},
        {"body_bytes": MAX_BODY_BYTES + 1},
        {"body_bytes": -1},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Geometry(**wrong)


def test_geometries_are_equal_by_their_two_values():
    assert Geometry(3, 1024) == Geometry(3, 1024) != Geometry(4, 1024)
    assert repr(Geometry(3, 1024)) == "Geometry(max_hops=3, body_bytes=1024)"
