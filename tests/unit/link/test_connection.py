"""The two ends on a transport that is a plain recorder: what real sockets make hard to time."""

from __future__ import annotations

from collections import Counter

import pytest

from peerd.config import LinkConfig
from peerd.link import CellKind, encode_cell
from peerd.link.connection import Common, Inbound, Outbound
from peerd.types import DropReason

SIZE = 100
PEER = bytes(range(16))
STRANGER = bytes(16)
PACKET = encode_cell(CellKind.PACKET, b"x" * SIZE, SIZE)


class Recorder:
    """A transport that keeps what is written and closes when told to."""

    def __init__(self, peer: bytes) -> None:
        self.certificate = {"subjectAltName": (("URI", f"peerd://peer/{peer.hex()}"),)}
        self.written: list[bytes] = []
        self.aborted = False

    def get_extra_info(self, name):
        return self.certificate if name == "peercert" else None

    def set_write_buffer_limits(self, high):
        pass

    def write(self, data):
        self.written.append(bytes(data))

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


@pytest.fixture
def drops():
    return Counter()


@pytest.fixture
def common(drops):
    def count(reason, _detail=""):
        drops[reason] += 1

    clock = lambda: 100.0  # noqa: E731
    return Common(SIZE, LinkConfig(queue_cells=3), clock, count, count)


@pytest.fixture
async def inbound(common):
    packets: list[bytes] = []
    ups: list[Inbound] = []
    link = Inbound(common, {PEER}, packets.append, ups.append)
    yield link, packets, ups
    link.connection_lost(None)


@pytest.fixture
async def outbound(common):
    ups: list[Outbound] = []
    link = Outbound(common, PEER, ups.append)
    yield link, ups
    link.connection_lost(None)


async def test_not_a_byte_of_a_stranger_is_looked_at(inbound, drops, common):
    link, packets, ups = inbound
    transport = Recorder(STRANGER)
    link.connection_made(transport)
    link.data_received(PACKET)  # was in the same segment as the end of the handshake
    assert transport.aborted
    assert (packets, ups, transport.written) == ([], [], [])
    assert common.bytes_received == 0
    assert drops == {DropReason.BAD_CERTIFICATE: 1}


async def test_after_a_bad_cell_nothing_is_looked_at(inbound, drops):
    link, packets, _ = inbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    link.data_received(PACKET)
    link.data_received(bytes(len(PACKET)))
    link.data_received(PACKET)
    assert packets == [b"x" * SIZE]
    assert transport.aborted
    assert drops == {DropReason.BAD_CELL: 1}


async def test_cells_before_one_that_may_not_come_are_handed_on(inbound, drops):
    link, packets, _ = inbound
    link.connection_made(Recorder(PEER))
    pong = encode_cell(CellKind.PONG, bytes(8), SIZE)
    link.data_received(PACKET + pong + PACKET)
    assert len(packets) == 1
    assert drops == {DropReason.BAD_CELL: 1}


async def test_a_ping_comes_back_as_the_same_number(inbound, common):
    link, _, _ = inbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    link.data_received(encode_cell(CellKind.PING, b"12345678", SIZE))
    assert transport.written == [encode_cell(CellKind.PONG, b"12345678", SIZE)]
    assert common.bytes_sent == common.bytes_received == len(PACKET)


async def test_a_full_transport_queues_up_to_the_limit_and_keeps_the_order(outbound, drops):
    link, ups = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    (ping,) = transport.written
    assert ups == []
    link.data_received(b"\x03" + ping[1:])
    assert ups == [link]
    link.pause_writing()
    bodies = [bytes([n]) * SIZE for n in range(4)]
    assert [link.send(body) for body in bodies] == [None, None, None, DropReason.LINK_QUEUE_FULL]
    assert link.queue_depth == 3
    assert len(transport.written) == 1
    link.resume_writing()
    sent = [encode_cell(CellKind.PACKET, body, SIZE) for body in bodies[:3]]
    assert transport.written[1:] == sent
    assert not drops


async def test_resuming_stops_where_the_transport_is_full_again(outbound):
    link, _ = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    link.pause_writing()
    for _ in range(3):
        link.send(bytes(SIZE))
    transport.write = lambda data: link.pause_writing()
    link.resume_writing()
    assert link.queue_depth == 2


async def test_what_is_queued_when_the_link_breaks_is_counted(outbound, drops):
    link, _ = outbound
    link.connection_made(Recorder(PEER))
    link.pause_writing()
    for _ in range(2):
        link.send(bytes(SIZE))
    link.abort()
    assert link.send(bytes(SIZE)) is DropReason.LINK_DOWN
    link.connection_lost(None)
    assert drops == {DropReason.LINK_DOWN: 2}
    assert link.closed.done()
