from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sphinxmix import SphinxClient

from peerd.sphinx import Forward, Geometry, Surb, SurbReply, make_surb, reply, unwrap
from peerd.sphinx.commands import ForwardTo, encode

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
geometries = st.builds(Geometry, st.integers(1, 8), st.integers(64, 4000))
seeds = st.integers(0, 2**32)


def carry(geometry, keys, path, packet):
    """Through all hops but the last; what the last one sees."""
    for key, after in zip(keys, path[1:], strict=False):
        step = unwrap(geometry, key, packet)
        assert isinstance(step, Forward)
        assert step.next_hop == after.peer
        packet = step.packet
    return unwrap(geometry, keys[-1], packet)


@settings(max_examples=60, deadline=None)
@given(geometries, seeds, st.data())
def test_surb_and_reply_are_those_of_stock_sphinxmix(make_path, stock_client, geometry, seed, data):
    _, path = make_path(data.draw(st.integers(1, geometry.max_hops + 1)), seed)
    message = data.draw(st.binary(max_size=geometry.reply_bytes))
    nodes = [path[0].peer] + [encode(ForwardTo(after.peer, hop.delay)) for hop, after in pairwise(path)]
    with stock_client(geometry, seed) as params:
        stock_id, stock_keys, nym = SphinxClient.create_surb(params, nodes, [hop.key for hop in path], b"me")
        header, delta = SphinxClient.package_surb(params, nym, message)
    surb, keys = make_surb(geometry, path, randbytes=random.Random(seed).randbytes)
    assert (surb.first_hop, surb.key) == (nym[0], nym[2])
    assert surb.header == b"".join(nym[1])
    assert (keys.surb_id, [keys.key, *keys.hop_keys]) == (stock_id, stock_keys)
    assert reply(geometry, surb, message) == b"".join((*header, delta))


@settings(max_examples=40, deadline=None)
@given(geometries, seeds, st.data())
def test_a_reply_comes_home_and_opens_as_stock_sphinxmix_opens_it(
    make_path, stock_params, geometry, seed, data
):
    hop_keys, path = make_path(data.draw(st.integers(1, geometry.max_hops + 1)), seed)
    surb, keys = make_surb(geometry, path)
    packed = surb.to_bytes()
    assert len(packed) == geometry.surb_bytes
    assert Surb.from_bytes(geometry, packed) == surb
    tail = data.draw(st.sampled_from([b"", b"\x7f", b"\xff", b"\x7f\xff", b"\xff\x7f"]))
    message = data.draw(st.binary(max_size=geometry.reply_bytes - len(tail))) + tail
    packet = reply(geometry, surb, message)
    assert len(packet) == geometry.packet_bytes
    home = carry(geometry, hop_keys, path, packet)
    assert isinstance(home, SurbReply)
    assert home.surb_id == keys.surb_id
    assert keys.open(geometry, home.body) == message
    assert keys.open(geometry, home.body) == message, "opening consumes nothing"
    stock = stock_params(geometry.beta_bytes, geometry.body_bytes)
    stock_keys = [keys.key, *keys.hop_keys]
    assert SphinxClient.receive_surb(stock, stock_keys, home.body) == message


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 8 * GEOMETRY.body_bytes - 1), st.integers(0, 3))
def test_a_tagged_reply_does_not_open(make_path, bit, at):
    """The body is broken for its maker alone: no hop can tell, and none does."""
    hop_keys, path = make_path(4)
    surb, keys = make_surb(GEOMETRY, path)
    packet = reply(GEOMETRY, surb, b"answer")
    for key in hop_keys[:at]:
        packet = unwrap(GEOMETRY, key, packet).packet
    tagged = bytearray(packet)
    tagged[GEOMETRY.header_bytes + bit // 8] ^= 1 << bit % 8
    home = carry(GEOMETRY, hop_keys[at:], path[at:], bytes(tagged))
    assert isinstance(home, SurbReply)
    assert keys.open(GEOMETRY, home.body) is None


@given(st.binary(max_size=2 * GEOMETRY.body_bytes))
def test_any_body_opens_to_none(make_path, body):
    _, keys = make_surb(GEOMETRY, make_path(3)[1])
    assert keys.open(GEOMETRY, body) is None
    assert keys.open(GEOMETRY, body[: GEOMETRY.body_bytes].ljust(GEOMETRY.body_bytes)) is None


def test_a_reply_whose_padding_has_no_mark_opens_to_none(make_path):
    """Its MAC is right: the answering side itself left the mark out."""
    hop_keys, path = make_path(3)
    surb, keys = make_surb(GEOMETRY, path)
    params = GEOMETRY.params
    for payload in (bytes(1008), b"\xff" * 1008):
        delta = params.pi(surb.key, params.mu(surb.key, payload) + payload)
        home = carry(GEOMETRY, hop_keys, path, surb.header + delta)
        assert keys.open(GEOMETRY, home.body) is None


@pytest.mark.parametrize("size", [0, 16, 287, 289, 304, 10_000])
def test_a_surb_of_a_wrong_size_is_none(size):
    assert GEOMETRY.surb_bytes == 288
    assert Surb.from_bytes(GEOMETRY, bytes(size)) is None


def test_a_reply_of_another_body_size_opens_to_none_although_its_mac_is_right(make_path):
    longer = Geometry(max_hops=5, body_bytes=2048)
    hop_keys, path = make_path(3)
    surb, keys = make_surb(longer, path)
    home = carry(longer, hop_keys, path, reply(longer, surb, b"answer"))
    assert keys.open(longer, home.body) == b"answer"
    assert keys.open(GEOMETRY, home.body) is None


@given(st.binary(max_size=400))
def test_any_bytes_of_the_right_size_are_a_surb(data):
    exact = data[: GEOMETRY.surb_bytes].ljust(GEOMETRY.surb_bytes, b"\0")
    parsed = Surb.from_bytes(GEOMETRY, exact)
    assert parsed is not None
    assert parsed.to_bytes() == exact
    assert len(reply(GEOMETRY, parsed, b"x")) == GEOMETRY.packet_bytes


def test_a_reply_that_is_too_long_is_refused(make_path):
    surb, _ = make_surb(GEOMETRY, make_path(3)[1])
    reply(GEOMETRY, surb, bytes(GEOMETRY.reply_bytes))
    with pytest.raises(ValueError, match="at most"):
        reply(GEOMETRY, surb, bytes(GEOMETRY.reply_bytes + 1))


def test_repr_hides_keys(make_path):
    surb, keys = make_surb(GEOMETRY, make_path(3)[1])
    for secret in (surb.key, keys.key, *keys.hop_keys):
        assert repr(secret) not in repr(surb) + repr(keys)
