from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sphinxmix.SphinxClient import receive_forward
from sphinxmix.SphinxNode import sphinx_process

from peerd.sphinx import Deliver, Forward, Geometry, Rejected, SurbReply, make_surb, unwrap, wrap
from peerd.sphinx.commands import DELIVER_HERE, ForwardTo, ReplyTo, encode
from peerd.sphinx.geometry import DESTINATION
from peerd.types import DropReason

GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
geometries = st.builds(Geometry, st.integers(1, 8), st.integers(64, 6000))


def split(geometry, packet):
    beta_end = geometry.header_bytes - 16
    header = packet[:32], packet[32:beta_end], packet[beta_end : geometry.header_bytes]
    return header, packet[geometry.header_bytes :]


@settings(max_examples=60, deadline=None)
@given(geometries, st.integers(0, 2**32), st.booleans(), st.data())
def test_every_hop_agrees_with_stock_sphinxmix(make_path, stock_params, geometry, seed, back, data):
    keys, path = make_path(data.draw(st.integers(1, geometry.max_hops + 1)), seed)
    rng = random.Random(seed)
    message = rng.randbytes(geometry.message_bytes)
    if back:
        surb, _ = make_surb(geometry, path)
        packet = surb.header + rng.randbytes(geometry.body_bytes)
    else:
        packet = wrap(geometry, path, message)
    stock = stock_params(geometry.beta_bytes, geometry.body_bytes)
    for key in keys:
        header, delta = split(geometry, packet)
        tag, routing, (next_header, delta), mac_key = sphinx_process(stock, key.private, header, delta)
        match unwrap(geometry, key, packet):
            case Forward(ours, next_hop, delay, packet):
                assert routing == encode(ForwardTo(next_hop, delay))
                assert packet == b"".join((*next_header, delta))
            case Deliver(ours, delivered):
                assert routing == encode(DELIVER_HERE)
                assert receive_forward(stock, mac_key, delta) == [DESTINATION, message]
                assert delivered == message
            case SurbReply(ours, surb_id, body):
                assert routing == encode(ReplyTo(surb_id))
                assert body == delta
        assert ours == tag


def forged(geometry, key, plain: bytes, payload: bytes | None = None, mac_mask: int = 0) -> bytes:
    """A packet whose sender wrote any bytes into the header of its only hop, with the right MACs;
    `mac_mask` spoils the body's."""
    params = geometry.params
    secret = params.group.gensecret()
    hop = params.hop_keys(params.group.expon(key.public, [secret]))
    beta = params.xor_rho(hop.rho, plain.ljust(geometry.beta_bytes, b"\0"))
    payload = bytes(geometry.body_bytes - 16) if payload is None else payload
    mac = int.from_bytes(params.mu(hop.pi, payload), "big") ^ mac_mask
    delta = params.pi(hop.pi, mac.to_bytes(16, "big") + payload)
    return b"".join((params.group.expon_base([secret]), beta, params.mu(hop.mu, beta), delta))


@given(st.binary(max_size=GEOMETRY.beta_bytes))
def test_whatever_an_authentic_sender_writes_into_a_header_is_survived(make_path, plain):
    key = make_path(1)[0][0]
    outcome = unwrap(GEOMETRY, key, forged(GEOMETRY, key, plain))
    assert isinstance(outcome, Forward | SurbReply | Rejected)
    routing = plain.ljust(GEOMETRY.beta_bytes, b"\0")[1 : 1 + (plain[0] if plain else 0)]
    if routing[:1] not in (b"\xf0", b"\xf1", b"\xf2"):
        assert outcome == Rejected(DropReason.BAD_COMMAND)


@pytest.mark.parametrize(
    "routing",
    [b"", b"\x00", b"\xf0", b"\xf0" + bytes(19), b"\xf0" + bytes(21), b"\xf1\x00", b"\xf2",
     b"\xf2" + bytes(15), b"\xf2" + bytes(17), b"\x91\xa2\xc3\xb1", bytes(255)],
)  # fmt: skip
def test_a_routing_that_is_no_command_is_refused(make_path, routing):
    key = make_path(1)[0][0]
    plain = bytes([len(routing)]) + routing
    packet = forged(GEOMETRY, key, plain[: GEOMETRY.beta_bytes])
    assert unwrap(GEOMETRY, key, packet) == Rejected(DropReason.BAD_COMMAND)


def test_a_payload_that_is_not_of_the_one_shape_is_refused_although_its_mac_is_right(make_path):
    key = make_path(1)[0][0]
    message = bytes(GEOMETRY.message_bytes)
    right = GEOMETRY.payload_prefix + message + GEOMETRY.payload_suffix
    deliver = b"\x01\xf1"
    assert isinstance(unwrap(GEOMETRY, key, forged(GEOMETRY, key, deliver, right)), Deliver)
    for at in (*range(len(GEOMETRY.payload_prefix)), len(right) - 1):
        wrong = bytearray(right)
        wrong[at] ^= 1
        packet = forged(GEOMETRY, key, deliver, bytes(wrong))
        assert unwrap(GEOMETRY, key, packet) == Rejected(DropReason.BAD_BODY)


@pytest.mark.parametrize("bit", range(128))
def test_a_payload_of_the_right_shape_is_refused_where_any_bit_of_its_mac_is_wrong(make_path, bit):
    """The shape alone is no protection: only the MAC covers the message inside."""
    key = make_path(1)[0][0]
    message = bytes(GEOMETRY.message_bytes)
    right = GEOMETRY.payload_prefix + message + GEOMETRY.payload_suffix
    packet = forged(GEOMETRY, key, b"\x01\xf1", right, mac_mask=1 << bit)
    assert unwrap(GEOMETRY, key, packet) == Rejected(DropReason.BAD_BODY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8 * GEOMETRY.body_bytes - 1), st.integers(0, 3))
def test_a_tagged_body_goes_on_and_is_refused_by_the_recipient_alone(make_path, bit, at):
    keys, path = make_path(4)
    packet = wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))
    honest = packet
    for key in keys[:at]:
        packet = honest = unwrap(GEOMETRY, key, packet).packet
    tagged = bytearray(packet)
    tagged[GEOMETRY.header_bytes + bit // 8] ^= 1 << bit % 8
    packet = bytes(tagged)
    for key in keys[at:-1]:
        step, untouched = unwrap(GEOMETRY, key, packet), unwrap(GEOMETRY, key, honest)
        assert isinstance(step, Forward)
        header_end = GEOMETRY.header_bytes
        assert step.packet[:header_end] == untouched.packet[:header_end]
        blocks = range(header_end, len(packet), 16)
        assert all(step.packet[n : n + 16] != untouched.packet[n : n + 16] for n in blocks)
        packet, honest = step.packet, untouched.packet
    assert unwrap(GEOMETRY, keys[-1], packet) == Rejected(DropReason.BAD_BODY)
