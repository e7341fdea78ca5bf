"""Senders: the same bytes as stock sphinxmix from the same randomness, at any size."""

from __future__ import annotations

import os
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sphinxmix import SphinxClient

from peerd.sphinx import Deliver, Forward, Geometry, Hop, unwrap, wrap
from peerd.sphinx.commands import ForwardTo, encode
from peerd.sphinx.core import peel
from peerd.sphinx.geometry import DESTINATION

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
geometries = st.builds(Geometry, st.integers(1, 8), st.integers(64, 6000))
seeds = st.integers(0, 2**32)


@settings(max_examples=60, deadline=None)
@given(geometries, seeds, st.data())
def test_a_packet_is_the_one_stock_sphinxmix_makes(make_path, stock_client, geometry, seed, data):
    _, path = make_path(data.draw(st.integers(1, geometry.max_hops + 1)), seed)
    message = random.Random(seed).randbytes(geometry.message_bytes)
    nodes = [b""] + [encode(ForwardTo(after.peer, hop.delay)) for hop, after in pairwise(path)]
    with stock_client(geometry, seed) as params:
        header, delta = SphinxClient.create_forward_message(
            params, nodes, [hop.key for hop in path], DESTINATION, message
        )
    packet = wrap(geometry, path, message, randbytes=random.Random(seed).randbytes)
    assert packet == b"".join((*header, delta))
    assert len(packet) == geometry.packet_bytes


@settings(max_examples=30, deadline=None)
@given(geometries, seeds, st.data())
def test_a_message_arrives_by_every_hop(make_path, geometry, seed, data):
    keys, path = make_path(data.draw(st.integers(1, geometry.max_hops + 1)), seed)
    message = random.Random(seed).randbytes(geometry.message_bytes)
    packet = wrap(geometry, path, message)
    tags = set()
    for hop, key, after in zip(path[:-1], keys[:-1], path[1:], strict=True):
        step = unwrap(geometry, key, packet)
        assert isinstance(step, Forward)
        assert step.next_hop == after.peer
        assert step.delay == pytest.approx(hop.delay, abs=0.51e-6)
        assert len(step.packet) == geometry.packet_bytes
        tags.add(step.tag)
        packet = step.packet
    last = unwrap(geometry, keys[-1], packet)
    assert isinstance(last, Deliver)
    assert last.message == message
    assert len(tags | {last.tag}) == len(path)
    assert {len(tag) for tag in tags | {last.tag}} == {16}


def test_two_packets_of_one_message_share_no_block(make_path):
    _, path = make_path(4)
    message = bytes(GEOMETRY.message_bytes)
    packets = [wrap(GEOMETRY, path, message) for _ in range(20)]
    blocks = [packet[at : at + 16] for packet in packets for at in range(0, len(packet), 16)]
    assert len(set(blocks)) == len(blocks)


@pytest.mark.parametrize("hops", range(1, 7))
def test_header_padding_is_random_whatever_the_path_length(make_path, hops):
    """Kuhn, Beck, Strufe 2019: zeros after the final command told the recipient the path length."""
    keys, path = make_path(hops)
    views = []
    for _ in range(40):
        packet = wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))
        for key in keys[:-1]:
            packet = unwrap(GEOMETRY, key, packet).packet
        beta_end = 32 + GEOMETRY.beta_bytes
        params = GEOMETRY.params
        gamma = packet[beta_end : beta_end + 16]
        layer = peel(params, keys[-1].exponent, packet[:32], packet[32:beta_end], gamma)
        assert layer.routing == b"\xf1"
        seen = params.xor_rho(layer.keys.rho, packet[32:beta_end])
        views.append(seen[2:])
    for column in zip(*views, strict=True):
        assert len(set(column)) > 20, "every byte of the unused header differs from packet to packet"


def test_padding_is_drawn_from_the_randomness_given(make_path):
    _, path = make_path(1)
    drawn = []

    def draw(size: int) -> bytes:
        drawn.append(size)
        return os.urandom(size)

    wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes), randbytes=draw)
    assert drawn == [32, GEOMETRY.beta_bytes - len(b"\x01\xf1")]


@pytest.mark.parametrize("size", [0, GEOMETRY.message_bytes - 1, GEOMETRY.message_bytes + 1])
def test_a_message_has_one_size(make_path, size):
    _, path = make_path(3)
    with pytest.raises(ValueError, match="a message is"):
        wrap(GEOMETRY, path, bytes(size))


@pytest.mark.parametrize("hops", [0, 7, 20])
def test_a_path_fits_the_header(make_path, hops):
    _, path = make_path(hops)
    with pytest.raises(ValueError, match="1 to 6 hops"):
        wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))


@pytest.mark.parametrize("key", [bytes(32), b"short", b"\xff" * 32, b"\x01" + bytes(31)])
@pytest.mark.parametrize("position", [0, 2])
def test_a_key_that_is_no_point_is_refused_before_anything_is_sent(make_path, key, position):
    _, path = make_path(3)
    path[position] = Hop(path[position].peer, key, 0.0)
    with pytest.raises(ValueError, match="usable point"):
        wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))


def test_a_peer_id_of_a_wrong_size_is_refused(make_path):
    _, path = make_path(3)
    path[1] = Hop(b"short", path[1].key, 0.0)
    with pytest.raises(ValueError, match="peer id"):
        wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))
