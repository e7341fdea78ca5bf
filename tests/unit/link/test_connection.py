"""The two ends on a transport that is a plain recorder: what real sockets make hard to time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from peerd.config import LinkConfig
from peerd.link import CellKind, encode_cell, encode_gossip
from peerd.link.connection import Common, Inbound, Outbound
from peerd.types import DropReason

SIZE = 100
PEER = bytes(range(16))
STRANGER = bytes(16)
DER = b"a certificate"
PACKET = encode_cell(CellKind.PACKET, b"x" * SIZE, SIZE)


class Recorder:
    """A transport that keeps what is written and closes when told to."""

    def __init__(self, peer: bytes) -> None:
        self.certificate = {"subjectAltName": (("URI", f"peerd://peer/{peer.hex()}"),)}
        self.written: list[bytes] = []
        self.calls: list[int] = []
        """Cells of each write."""
        self.reading = True
        self.aborted = False

    def get_extra_info(self, name):
        return {"peercert": self.certificate, "ssl_object": self}.get(name)

    def getpeercert(self, binary_form):
        assert binary_form
        return DER

    def set_write_buffer_limits(self, high):
        pass

    def writelines(self, cells):
        self.calls.append(len(cells))
        self.written += map(bytes, cells)

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


def receive(link, data):
    """As a transport does."""
    while data:
        buffer = link.get_buffer(len(data))
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        link.buffer_updated(count)
        data = data[count:]


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
def gossip():
    return []


@pytest.fixture
def expected():
    return {PEER}


@pytest.fixture
def admit(expected):
    def ask(peer, certificate):
        assert certificate == DER
        return None if peer in expected else DropReason.REVOKED_PEER

    return ask


@pytest.fixture
async def inbound(common, admit, gossip):
    packets: list[bytes] = []
    ups: list[Inbound] = []
    link = Inbound(
        common, admit, packets.append, lambda *what: gossip.append(what), ups.append, lambda _: None
    )
    yield link, packets, ups
    link.connection_lost(None)


@pytest.fixture
async def outbound(common):
    ups: list[Outbound] = []
    link = Outbound(common, PEER, ups.append, lambda *_: None)
    yield link, ups
    link.connection_lost(None)


async def test_not_a_byte_of_a_stranger_is_looked_at(inbound, drops, common):
    link, packets, ups = inbound
    transport = Recorder(STRANGER)
    link.connection_made(transport)
    receive(link, PACKET)  # was in the same segment as the end of the handshake
    assert transport.aborted
    assert (packets, ups, transport.written) == ([], [], [])
    assert common.bytes_received == 0
    assert drops == {DropReason.REVOKED_PEER: 1}


@pytest.mark.parametrize(
    "uri", ["peerd://operator/admin/ops", "peerd://peer/1234", "peerd://delegate/" + "0" * 32]
)
async def test_whose_certificate_is_no_peers_is_not_even_asked_for(inbound, drops, uri):
    link, _, ups = inbound
    transport = Recorder(PEER)
    transport.certificate = {"subjectAltName": (("URI", uri), ("DNS", "peerd://peer/" + PEER.hex()))}
    link.connection_made(transport)
    assert transport.aborted
    assert ups == []
    assert drops == {DropReason.BAD_CERTIFICATE: 1}


async def test_whom_we_dialled_must_be_who_answers(outbound, drops):
    link, _ = outbound
    transport = Recorder(STRANGER)
    link.connection_made(transport)
    assert transport.aborted
    assert transport.written == []
    assert drops == {DropReason.BAD_CERTIFICATE: 1}


async def test_a_connection_that_was_given_up_before_it_was_open_closes_when_it_is(outbound, common):
    link, ups = outbound
    link.abort()
    transport = Recorder(PEER)
    link.connection_made(transport)
    receive(link, encode_cell(CellKind.PONG, bytes(8), SIZE))
    assert transport.aborted
    assert (transport.written, ups) == ([], [])
    assert link in common.open  # until it is lost, so that nobody forgets it
    link.connection_lost(None)
    assert not common.open


async def test_who_is_not_expected_any_more_is_hung_up_on_when_asked_again(inbound, expected, drops):
    link, packets, _ = inbound
    transport = Recorder(PEER)
    link.reconsider()  # it is nobody yet
    link.connection_made(transport)
    link.reconsider()
    assert not transport.aborted
    expected.clear()
    link.reconsider()
    link.reconsider()
    assert transport.aborted
    receive(link, PACKET)
    assert packets == []
    assert drops == {DropReason.REVOKED_PEER: 1}


async def test_who_answers_us_is_not_asked_about(outbound):
    transport = Recorder(PEER)
    outbound[0].connection_made(transport)
    outbound[0].reconsider()
    assert not transport.aborted


async def test_what_comes_behind_news_that_makes_us_hang_up_is_not_looked_at(common, admit, drops):
    packets, heard = [], []

    def heed(peer, data):
        heard.append(data)
        link.abort()

    link = Inbound(common, admit, packets.append, heed, lambda link: None, lambda _: None)
    link.connection_made(Recorder(PEER))
    receive(link, PACKET + encode_gossip(b"you are revoked", SIZE) + PACKET + encode_gossip(b"more", SIZE))
    receive(link, PACKET)
    assert (len(packets), heard) == (1, [b"you are revoked"])
    assert not drops
    link.connection_lost(None)


async def test_after_a_bad_cell_nothing_is_looked_at(inbound, drops):
    link, packets, _ = inbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    receive(link, PACKET)
    receive(link, bytes(len(PACKET)))
    receive(link, PACKET)
    assert packets == [b"x" * SIZE]
    assert transport.aborted
    assert drops == {DropReason.BAD_CELL: 1}


async def test_cells_before_one_that_may_not_come_are_handed_on(inbound, drops):
    link, packets, _ = inbound
    link.connection_made(Recorder(PEER))
    pong = encode_cell(CellKind.PONG, bytes(8), SIZE)
    receive(link, PACKET + pong + PACKET)
    assert len(packets) == 1
    assert drops == {DropReason.BAD_CELL: 1}


async def test_a_ping_comes_back_as_the_same_number(inbound, common):
    link, _, _ = inbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    receive(link, encode_cell(CellKind.PING, b"12345678", SIZE))
    assert transport.written == [encode_cell(CellKind.PONG, b"12345678", SIZE)]
    assert common.bytes_sent == common.bytes_received == len(PACKET)


async def test_packets_too_are_signs_of_life(common, admit):
    """Pings of a neighbour wait behind its packets while it is not read."""
    now = 100.0
    common.clock = lambda: now
    link = Inbound(common, admit, lambda packet: None, lambda *what: None, lambda link: None, lambda _: None)
    transport = Recorder(PEER)
    link.connection_made(transport)
    interval, dead_after = common.config.keepalive_seconds, common.config.dead_after_seconds
    for _ in range(3 * round(dead_after / interval)):
        now += interval
        receive(link, PACKET[:10])
        link._look()
        link._timer.cancel()
    assert not transport.aborted
    for _ in range(round(dead_after / interval)):
        now += interval
        link._look()
        link._timer.cancel()
    assert transport.aborted
    link.connection_lost(None)


async def test_a_full_transport_queues_up_to_the_limit_and_keeps_the_order(outbound, drops):
    link, ups = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    (ping,) = transport.written
    assert ups == []
    receive(link, b"\x03" + ping[1:])
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


async def test_resuming_stops_where_the_transport_is_full_again(outbound, monkeypatch):
    link, _ = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    link._cells_at_a_time = 2
    link.pause_writing()
    for _ in range(3):
        link.send(bytes(SIZE))
    monkeypatch.setattr(transport, "writelines", lambda cells: link.pause_writing())
    link.resume_writing()
    assert link.queue_depth == 1


async def test_what_is_sent_in_one_turn_of_the_loop_is_one_write(outbound):
    link, _ = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    assert transport.calls == [1]  # a ping
    bodies = [bytes([n]) * SIZE for n in range(3)]
    assert [link.send(body) for body in bodies] == [None] * 3
    assert transport.calls == [1]
    await asyncio.sleep(0)
    assert transport.calls == [1, 3]
    assert transport.written[1:] == [encode_cell(CellKind.PACKET, body, SIZE) for body in bodies]
    link.send(bytes(SIZE))
    await asyncio.sleep(0)
    assert transport.calls == [1, 3, 1]


async def test_a_full_queue_is_written_at_once_where_the_transport_takes_it(outbound):
    link, _ = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    assert [link.send(bytes(SIZE)) for _ in range(7)] == [None] * 7  # the limit is 3
    await asyncio.sleep(0)
    assert transport.calls == [1, 3, 3, 1]


async def test_cells_of_a_turn_in_which_the_link_breaks_are_counted(outbound, drops):
    link, _ = outbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    link.send(bytes(SIZE))
    link.abort()
    await asyncio.sleep(0)
    assert transport.calls == [1]
    link.connection_lost(None)
    assert drops == {DropReason.LINK_DOWN: 1}


async def test_who_is_held_is_not_read_and_nor_is_who_comes_meanwhile(inbound, outbound, common):
    link, _, _ = inbound
    common.held = True
    transport = Recorder(PEER)
    link.connection_made(transport)
    assert not transport.reading
    link.hold(False)
    assert transport.reading
    link.hold(True)
    assert not transport.reading
    answers = Recorder(PEER)
    outbound[0].connection_made(answers)
    outbound[0].hold(True)
    assert answers.reading  # pongs: who does not get them calls the link dead


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


async def test_gossip_is_handed_on_and_a_flood_of_it_is_counted(inbound, gossip, drops, common):
    link, packets, _ = inbound
    transport = Recorder(PEER)
    link.connection_made(transport)
    for _ in range(132):
        receive(link, encode_gossip(b"hello", SIZE))
    assert gossip == [(PEER, b"hello")] * 128  # the clock stands still: the burst and no more
    assert drops == {DropReason.GOSSIP_FLOOD: 4}
    assert (packets, transport.aborted) == ([], False)
    assert common.gossip_received == 128


async def test_who_connects_anew_has_no_new_allowance_and_others_have_theirs(common, admit, expected, drops):
    heard = Counter()
    expected.add(STRANGER)
    for peer in (PEER, STRANGER, PEER, STRANGER):
        link = Inbound(
            common,
            admit,
            lambda packet: None,
            lambda who, _: heard.update([who]),
            lambda _: None,
            lambda _: None,
        )
        link.connection_made(Recorder(peer))
        for _ in range(100):
            receive(link, encode_gossip(b"hello", SIZE))
        link.connection_lost(None)
    assert heard == {PEER: 128, STRANGER: 128}
    assert drops == {DropReason.GOSSIP_FLOOD: 144}


async def test_gossip_and_packets_leave_in_order_through_one_bounded_queue(outbound, common):
    link, _ = outbound
    link.connection_made(Recorder(PEER))
    transport = link._transport
    before = len(transport.written)
    link.pause_writing()
    assert [link.send(bytes(SIZE)), link.announce(b"me"), link.send(bytes(SIZE))] == [None] * 3
    assert link.announce(b"me") is DropReason.LINK_QUEUE_FULL
    assert common.gossip_sent == 1
    link.resume_writing()
    kinds = [cell[0] for cell in transport.written[before:]]
    assert kinds == [CellKind.PACKET, CellKind.GOSSIP, CellKind.PACKET]
