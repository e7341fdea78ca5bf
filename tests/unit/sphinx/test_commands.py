from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.sphinx.commands import (
    DELIVER_HERE,
    MAX_DELAY_SECONDS,
    PACKED_FINAL_BYTES,
    PACKED_FORWARD_BYTES,
    DeliverHere,
    ForwardTo,
    ReplyTo,
    decode,
    encode,
)
from peerd.types import PeerId

ids = st.binary(min_size=16, max_size=16)


@given(ids, st.floats(0.0, MAX_DELAY_SECONDS))
def test_a_delay_travels_to_the_microsecond(peer, delay):
    command = decode(encode(ForwardTo(PeerId(peer), delay)))
    assert isinstance(command, ForwardTo)
    assert command.peer == peer
    assert command.delay == pytest.approx(delay, abs=0.51e-6)


@pytest.mark.parametrize(
    ("asked", "carried"),
    [(-1.0, 0.0), (0.0, 0.0), (4e-7, 0.0), (6e-7, 1e-6), (1.0, 1.0),
     (5000.0, MAX_DELAY_SECONDS), (float("inf"), MAX_DELAY_SECONDS)],
)  # fmt: skip
def test_delays_are_rounded_and_clamped(asked, carried):
    assert decode(encode(ForwardTo(PeerId(bytes(16)), asked))) == ForwardTo(PeerId(bytes(16)), carried)


@given(ids)
def test_final_commands_come_back(surb_id):
    assert decode(encode(ReplyTo(surb_id))) == ReplyTo(surb_id)
    assert decode(encode(DELIVER_HERE)) == DeliverHere()


def test_sizes_are_what_the_geometry_counts_with():
    assert len(encode(ForwardTo(PeerId(bytes(16)), 1.0))) + 1 == PACKED_FORWARD_BYTES == 22
    assert len(encode(ReplyTo(bytes(16)))) + 1 == PACKED_FINAL_BYTES == 18
    assert len(encode(DELIVER_HERE)) + 1 < PACKED_FINAL_BYTES


@given(st.one_of(st.binary(max_size=255), st.binary(min_size=21, max_size=21)))
def test_any_bytes_are_one_command_or_none(routing):
    command = decode(routing)
    if command is not None:
        assert encode(command) == routing


@pytest.mark.parametrize("flag", [0xF0, 0xF1, 0xF2])
@pytest.mark.parametrize("size", [0, 2, 16, 18, 20, 22, 255])
def test_a_flag_with_a_wrong_size_is_no_command(flag, size):
    assert decode(bytes([flag]).ljust(size, b"\0")[:size]) is None
