"""Links over real TLS sockets on loopback, on asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections import Counter

import msgspec
import pytest

from peerd.errors import ConflictError, InvalidInputError
from peerd.link import CellKind, cell_bytes, encode_cell
from peerd.link.listener import MAX_HANDSHAKES
from peerd.membership import client_ssl_context, peer_of, server_ssl_context
from peerd.types import DropReason

SIZE = 1000
PACKET = encode_cell(CellKind.PACKET, b"x" * SIZE, SIZE)
PING = encode_cell(CellKind.PING, bytes(8), SIZE)
SLACK = 2.0
"""Seconds that a loaded test machine may add to a deadline."""


def up(peer, other, direction="outbound"):
    return lambda: (other.state.peer_id, direction, True) in peer.links


def down(peer, other, direction="outbound"):
    return lambda: (other.state.peer_id, direction, False) in peer.links


async def dial(peer, context):
    return await asyncio.open_connection(*peer.address, ssl=context, server_hostname="")


async def hung_up(reader) -> bool:
    """Whether the other side closed, with a FIN or with a reset."""
    async with asyncio.timeout(10):
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
    return True


# -- between two tables --------------------------------------------------------------------------


async def test_packets_cross_in_order_in_both_directions(links):
    alice, bob = await links("alice", "bob")  # both dial at once
    await alice.until(up(alice, bob))
    await bob.until(up(bob, alice))
    sent = [os.urandom(SIZE) for _ in range(300)]
    for packet in sent:
        assert alice.table.send(bob.state.peer_id, packet) is None
        assert bob.table.send(alice.state.peer_id, packet) is None
    await bob.until(lambda: len(bob.packets) == 300)
    await alice.until(lambda: len(alice.packets) == 300)
    assert alice.packets == bob.packets == sent
    assert not alice.drops
    assert not bob.drops
    assert alice.table.bytes_sent >= 300 * cell_bytes(SIZE)
    assert bob.table.bytes_received >= 300 * cell_bytes(SIZE)
    await alice.until(up(alice, bob, "inbound"))
    link = alice.table.snapshot(bob.state.peer_id)
    assert link.outbound == link.inbound == "up"
    assert 0.0 < link.rtt_seconds < SLACK
    assert link.queue_depth == 0
    assert alice.table.links_up == (1, 1)


async def test_a_peer_that_restarts_is_dialled_again(links):
    alice, bob = await links("alice", "bob")
    await alice.until(up(alice, bob))
    await bob.stop()
    await alice.until(down(alice, bob))
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_DOWN
    before = alice.table.bytes_sent
    alice.links.clear()
    await bob.start(bob.addresses)
    await alice.until(up(alice, bob))
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is None
    await bob.until(lambda: len(bob.packets) == 1)
    assert alice.table.bytes_sent > before


async def test_a_peer_that_dials_us_is_dialled_at_once(links):
    """However far the backoff has grown."""
    alice, bob = await links("alice", "bob", run=False)
    alice.config = msgspec.structs.replace(alice.config, backoff_min_seconds=0.1, backoff_max_seconds=3600.0)
    alice.rng.random = lambda: 1.0  # the whole step each time
    await alice.start(alice.addresses)
    await alice.until(lambda: alice.log.debugs == 6)  # the next wait is 3.2 seconds long
    started = time.monotonic()
    await bob.start(bob.addresses)
    await alice.until(up(alice, bob))
    assert time.monotonic() - started < SLACK


async def test_closing_lets_the_port_go_and_tells_of_every_link(links):
    alice, bob = await links("alice", "bob")
    await alice.until(up(alice, bob))
    await alice.until(up(alice, bob, "inbound"))
    await alice.stop()
    assert down(alice, bob)()
    assert down(alice, bob, "inbound")()
    assert alice.table.links_up == (0, 0)
    with pytest.raises(OSError):
        await asyncio.open_connection(*alice.address)


async def test_an_unreachable_address_is_no_crash(links):
    alice, bob, carol = await links("alice", "bob", "carol", run=False)
    await bob.start(bob.addresses)
    addresses = dict(alice.addresses)
    addresses[carol.state.peer_id] = ("a..b", 1)  # not even a host name
    await alice.start(addresses)
    await alice.until(up(alice, bob))
    assert alice.table.snapshot(carol.state.peer_id).outbound != "up"


# -- who may connect -----------------------------------------------------------------------------


async def test_it_is_tls_1_3_with_both_certificates(links):
    alice, bob = await links("alice", "bob")
    _, writer = await dial(bob, client_ssl_context(alice.state))
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert peer_of(writer.get_extra_info("peercert")) == bob.state.peer_id
    writer.close()
    old = client_ssl_context(alice.state)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(OSError):
        await dial(bob, old)


async def test_a_stranger_of_another_authority_is_refused_and_counted(links, ca):
    (alice, bob) = await links("alice", "bob")
    mallory = type(ca)("other").issue("alice")
    context = client_ssl_context(mallory)
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await dial(bob, context)
    writer.write(PACKET)
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == 1)
    assert await hung_up(reader)
    writer.close()
    await alice.until(up(alice, bob))
    alice.table.send(bob.state.peer_id, bytes(SIZE))
    await bob.until(lambda: bob.packets == [bytes(SIZE)])


async def test_a_server_of_another_authority_is_refused_and_counted(links, ca):
    alice, bob = await links("alice", "bob", run=False)
    mallory = type(ca)("other").issue("bob")
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, *alice.addresses[bob.state.peer_id], ssl=server_ssl_context(mallory)
    )
    await alice.start(alice.addresses)
    await alice.until(lambda: alice.drops[DropReason.HANDSHAKE_FAILED] >= 2)
    assert alice.links == []
    server.close()


async def test_no_certificate_at_all_is_refused(links):
    (bob,) = await links("bob")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await dial(bob, context)
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == 1)
    writer.close()


async def test_a_peer_of_the_ca_that_is_not_expected_is_refused_unread(links):
    """A revoked one, say."""
    alice, bob = await links("alice", "bob", run=False)
    await bob.start({})
    for attempt in range(20):
        reader, writer = await dial(bob, client_ssl_context(alice.state))
        writer.write(PACKET * 3)  # arrives together with the end of the handshake
        await bob.until(lambda n=attempt: bob.drops[DropReason.REVOKED_PEER] == n + 1)
        assert await hung_up(reader)
        writer.close()
    assert bob.packets == []
    assert bob.links == []
    assert bob.table.bytes_received == 0


async def test_a_peer_that_does_not_expect_us_never_seems_up(links):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start({})
    await alice.start(alice.addresses)
    await bob.until(lambda: bob.drops[DropReason.REVOKED_PEER] >= 3)
    assert alice.links == []
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_DOWN


async def test_an_operators_certificate_opens_no_link(links, ca):
    (bob,) = await links("bob")
    operator = ca.issue("ops", uri="peerd://operator/admin/ops")
    _, writer = await dial(bob, client_ssl_context(operator))
    writer.write(PACKET)
    await bob.until(lambda: bob.drops[DropReason.BAD_CERTIFICATE] == 1)
    assert bob.packets == []
    writer.close()


async def test_somebody_else_at_the_address_is_not_used(links):
    alice, bob, carol = await links("alice", "bob", "carol", run=False)
    await carol.start(carol.addresses)
    swapped = dict(alice.addresses)
    swapped[bob.state.peer_id] = carol.address
    await alice.start(swapped)
    await alice.until(lambda: alice.drops[DropReason.BAD_CERTIFICATE] >= 2)
    assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_DOWN
    assert not up(alice, bob)()


async def test_a_second_connection_of_a_peer_replaces_the_first(links):
    alice, bob = await links("alice", "bob", run=False)
    bob.config = msgspec.structs.replace(bob.config, dead_after_seconds=60.0)
    await bob.start(bob.addresses)
    first, first_writer = await dial(bob, client_ssl_context(alice.state))
    await bob.until(up(bob, alice, "inbound"))
    _, second_writer = await dial(bob, client_ssl_context(alice.state))
    assert await hung_up(first)
    second_writer.write(PACKET)
    await bob.until(lambda: len(bob.packets) == 1)
    assert not down(bob, alice, "inbound")()
    assert bob.table.links_up == (0, 1)
    first_writer.close()
    second_writer.close()
    await bob.until(down(bob, alice, "inbound"))


# -- hostile bytes -------------------------------------------------------------------------------


async def test_garbage_on_the_port_is_counted_and_survived(links):
    (bob, alice) = await links("bob", "alice")
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), b""):
        reader, writer = await asyncio.open_connection(*bob.address)
        writer.write(garbage)
        writer.write_eof()
        assert await hung_up(reader)
        writer.close()
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == 3)
    await alice.until(up(alice, bob))
    refusals = [fields for event, fields in bob.log.warnings if event == "link refused"]
    assert len(refusals) == 1  # one line for the burst


async def test_a_stranger_that_says_nothing_is_timed_out(links):
    (bob,) = await links("bob", run=False)
    bob.config = msgspec.structs.replace(bob.config, connect_timeout_seconds=0.3)
    await bob.start(bob.addresses)
    reader, writer = await asyncio.open_connection(*bob.address)
    assert await hung_up(reader)
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == 1)
    writer.close()


async def test_handshakes_at_a_time_are_bounded(links):
    (bob, alice) = await links("bob", "alice", run=False)
    bob.config = msgspec.structs.replace(bob.config, connect_timeout_seconds=3600.0)
    await bob.start(bob.addresses)
    idle = [await asyncio.open_connection(*bob.address) for _ in range(MAX_HANDSHAKES + 5)]
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == 5)
    for reader, _ in idle[-5:]:
        assert await hung_up(reader)
    for _, writer in idle:
        writer.close()  # the places are free again
    await bob.until(lambda: bob.drops[DropReason.HANDSHAKE_FAILED] == MAX_HANDSHAKES + 5)
    await alice.start(alice.addresses)
    await alice.until(up(alice, bob))


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff" + bytes(3) + bytes(SIZE),
        b"\x01\x01\x00\x00" + bytes(SIZE),
        encode_cell(CellKind.PONG, bytes(8), SIZE),
        b"\x02\x00\x00\x00" + b"\x01" * SIZE,
        os.urandom(3) + b"\xff" + os.urandom(50_000),
    ],
    ids=["kind", "head", "unasked-pong", "padding", "noise"],
)
async def test_a_bad_cell_over_a_good_link_is_counted_and_disconnects(links, bad):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start(alice.addresses)
    reader, writer = await dial(bob, client_ssl_context(alice.state))
    writer.write(PACKET + bad + PACKET)
    assert await hung_up(reader)
    await bob.until(lambda: bob.drops[DropReason.BAD_CELL] == 1)
    assert len(bob.packets) <= 1
    writer.close()


async def test_every_bit_flip_in_the_head_of_a_cell_disconnects(links):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start(alice.addresses)
    for bit in range(32):
        flipped = bytearray(PACKET)
        flipped[bit // 8] ^= 1 << (bit % 8)
        reader, writer = await dial(bob, client_ssl_context(alice.state))
        writer.write(flipped)
        assert await hung_up(reader)
        writer.close()
        await bob.until(lambda n=bit: bob.drops[DropReason.BAD_CELL] == n + 1)
    assert bob.packets == []


async def test_a_truncated_cell_is_never_handed_on(links):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start(alice.addresses)
    _, writer = await dial(bob, client_ssl_context(alice.state))
    writer.write(PACKET[:-1])
    await writer.drain()
    writer.close()
    await bob.until(down(bob, alice, "inbound"))
    assert bob.packets == []


@pytest.mark.parametrize(
    "answer",
    [
        encode_cell(CellKind.PONG, (2**63).to_bytes(8, "big"), SIZE),
        encode_cell(CellKind.PING, bytes(8), SIZE),
        PACKET,
        b"HTTP/1.1 400 Bad Request\r\n" * 100,
    ],
    ids=["pong-of-no-ping", "ping", "packet", "http"],
)
async def test_a_listener_that_does_more_than_answer_is_hung_up_on(links, answer):
    alice, bob = await links("alice", "bob", run=False)
    async with serving(alice, bob, lambda: Scripted(lambda _: answer)):
        await alice.start(alice.addresses)
        await alice.until(lambda: alice.drops[DropReason.BAD_CELL] >= 1)
        assert not up(alice, bob)()


async def test_a_bit_flipped_on_the_wire_breaks_the_link_and_no_packet(links):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start(bob.addresses)
    proxy = Proxy(bob.address)
    addresses = dict(alice.addresses)
    addresses[bob.state.peer_id] = await proxy.start()
    await alice.start(addresses)
    await alice.until(up(alice, bob))
    proxy.flip = True
    assert alice.table.send(bob.state.peer_id, b"y" * SIZE) is None
    await alice.until(down(alice, bob))
    proxy.flip = False
    alice.links.clear()
    await alice.until(up(alice, bob))
    assert alice.table.send(bob.state.peer_id, b"z" * SIZE) is None
    await bob.until(lambda: bob.packets == [b"z" * SIZE])
    proxy.close()


# -- silence and full queues ---------------------------------------------------------------------


async def test_a_frozen_neighbour_is_noticed(links, tmp_path):
    """SIGSTOP: TCP still acknowledges, nobody answers."""
    alice, bob = await links("alice", "bob", run=False)
    (tmp_path / "chain.pem").write_bytes(bob.state.certificate_pem + bob.state.link_key_pem)
    (tmp_path / "ca.pem").write_bytes(bob.state.ca_pem)
    port = str(alice.addresses[bob.state.peer_id][1])
    remote = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ECHO, str(tmp_path / "chain.pem"), str(tmp_path / "ca.pem"), port,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await remote.stdout.readline()
        await alice.start(alice.addresses)
        await alice.until(up(alice, bob))
        remote.send_signal(signal.SIGSTOP)
        frozen = time.monotonic()
        await alice.until(down(alice, bob))
        assert time.monotonic() - frozen < alice.config.dead_after_seconds + SLACK
    finally:
        remote.kill()
        await remote.wait()


async def test_a_dialler_that_falls_silent_is_noticed(links):
    alice, bob = await links("alice", "bob", run=False)
    await bob.start(bob.addresses)
    reader, writer = await dial(bob, client_ssl_context(alice.state))
    writer.write(PING + PACKET)
    await bob.until(up(bob, alice, "inbound"))
    silent = time.monotonic()
    await bob.until(down(bob, alice, "inbound"))
    assert time.monotonic() - silent < bob.config.dead_after_seconds + SLACK
    assert await hung_up(reader)
    writer.close()


async def test_a_peer_that_pings_and_never_reads_gets_no_memory(links):
    alice, bob = await links("alice", "bob", run=False)
    bob.config = msgspec.structs.replace(bob.config, dead_after_seconds=30.0)
    await bob.start(bob.addresses)
    reader, writer = await dial(bob, client_ssl_context(alice.state))
    writer.transport.pause_reading()
    count = 20_000
    for _ in range(count):
        writer.write(PING)
    writer.write(PACKET)
    await bob.until(lambda: len(bob.packets) == 1)
    assert bob.table.bytes_sent < count * cell_bytes(SIZE)
    writer.transport.abort()
    del reader


async def test_full_queues_and_unknown_peers_are_reasons(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.config = msgspec.structs.replace(alice.config, queue_cells=4, dead_after_seconds=30.0)
    deaf = Scripted(lambda cell: b"\x03" + cell[1 : cell_bytes(SIZE)], answers=1)
    async with serving(alice, bob, lambda: deaf):
        await alice.start(alice.addresses)
        await alice.until(up(alice, bob))
        assert alice.table.send(b"?" * 16, bytes(SIZE)) is DropReason.UNKNOWN_PEER
        refused = None
        for _ in range(100_000):
            refused = alice.table.send(bob.state.peer_id, bytes(SIZE))
            if refused is not None:
                break
        assert refused is DropReason.LINK_QUEUE_FULL
        assert alice.table.queue_depth == 4
        assert alice.table.snapshot(bob.state.peer_id).queue_depth == 4
        assert not alice.drops  # what `send` returned is the caller's to count
        deaf.transport.abort()
        await alice.until(down(alice, bob))
    assert alice.drops[DropReason.LINK_DOWN] == 4
    assert alice.table.queue_depth == 0


async def test_a_shorter_queue_takes_nothing_more_and_drops_nothing_that_waits(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.config = msgspec.structs.replace(alice.config, queue_cells=50, dead_after_seconds=30.0)
    deaf = Scripted(lambda cell: b"\x03" + cell[1 : cell_bytes(SIZE)], answers=1)
    async with serving(alice, bob, lambda: deaf):
        await alice.start(alice.addresses)
        await alice.until(up(alice, bob))
        while alice.table.send(bob.state.peer_id, bytes(SIZE)) is None:
            pass  # the transport's buffers, then the queue
        assert alice.table.queue_depth == 50
        alice.table.set_queue_cells(4)
        assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is DropReason.LINK_QUEUE_FULL
        assert alice.table.queue_depth == 50
        alice.table.set_queue_cells(1000)
        assert alice.table.send(bob.state.peer_id, bytes(SIZE)) is None
        deaf.transport.abort()


async def test_another_policy_holds_from_the_next_dial_on(links):
    alice, bob = await links("alice", "bob", run=False)
    alice.policy.forbidden.add("127.0.0.1")
    for peer in (alice, bob):
        await peer.start(peer.addresses)
    await alice.until(lambda: alice.policy.asked)
    alice.table.set_policy(bob.policy)
    await alice.until(up(alice, bob))


async def test_what_waited_in_the_queue_is_sent_in_order(links):
    alice, bob = await links("alice", "bob", packet_bytes=8000, run=False)
    alice.config = msgspec.structs.replace(alice.config, queue_cells=4096)
    for peer in (alice, bob):
        await peer.start(peer.addresses)
    await alice.until(up(alice, bob))
    sent = [n.to_bytes(4, "big") * 2000 for n in range(3000)]  # 24 MB: more than buffers hold
    for packet in sent:
        assert alice.table.send(bob.state.peer_id, packet) is None
    assert alice.table.queue_depth > 0
    await bob.until(lambda: len(bob.packets) == len(sent))
    assert bob.packets == sent


async def test_who_is_held_reads_no_more_and_loses_nothing(links):
    alice, bob = await links("alice", "bob", packet_bytes=8000, run=False)
    for peer in (alice, bob):
        peer.config = msgspec.structs.replace(peer.config, dead_after_seconds=30.0, queue_cells=4096)
        await peer.start(peer.addresses)
    await alice.until(up(alice, bob))
    sent = [n.to_bytes(4, "big") * 2000 for n in range(3000)]
    bob.table.hold(True)
    for packet in sent:
        assert alice.table.send(bob.state.peer_id, packet) is None
    while (waiting := alice.table.queue_depth) > 0:
        await asyncio.sleep(0.1)
        if alice.table.queue_depth == waiting:
            break
    assert waiting > 0  # it is felt where the packets come from
    assert not bob.packets
    bob.table.hold(False)
    await bob.until(lambda: len(bob.packets) == len(sent))
    assert bob.packets == sent


@pytest.mark.parametrize("packet_bytes", [1000, 8000, 16_000])
async def test_every_cell_is_one_tls_record_however_many_are_written_together(links, packet_bytes):
    alice, bob = await links("alice", "bob", packet_bytes=packet_bytes, run=False)
    await bob.start(bob.addresses)
    proxy = Proxy(bob.address)
    await alice.start({**alice.addresses, bob.state.peer_id: await proxy.start()})
    await alice.until(up(alice, bob))
    for _ in range(100):
        assert alice.table.send(bob.state.peer_id, bytes(packet_bytes)) is None
    await bob.until(lambda: len(bob.packets) == 100)
    lengths = Counter(records(bytes(proxy.sent)))
    assert max(lengths) == cell_bytes(packet_bytes) + 17  # content type and tag
    assert lengths[max(lengths)] > 100  # pings too
    assert sum(lengths.values()) - lengths[max(lengths)] < 10  # the handshake
    proxy.close()


# -- the port ------------------------------------------------------------------------------------


async def test_the_port_in_use_is_one_clear_line(links):
    (bob,) = await links("bob")
    twin = type(bob)(bob.state, bob.config, SIZE)
    with pytest.raises(ConflictError, match=r"^\[link\] listen: 127\.0\.0\.1:\d+ cannot be bound"):
        await twin.start({})


@pytest.mark.parametrize("listen", ["192.0.2.1:9101", "a..b:1", "nonsense"])
async def test_an_address_that_is_not_ours_is_one_clear_line(links, listen):
    (bob,) = await links("bob", run=False)
    bob.config = msgspec.structs.replace(bob.config, listen=listen)
    with pytest.raises(InvalidInputError, match=r"^\[link\] listen: "):
        await bob.start({})


async def test_a_deadline_shorter_than_the_ping_interval_is_refused(links):
    (bob,) = await links("bob", run=False)
    bob.config = msgspec.structs.replace(bob.config, dead_after_seconds=0.1)
    with pytest.raises(InvalidInputError, match="dead_after_seconds"):
        await bob.start({})


# -- hand-made neighbours ------------------------------------------------------------------------

ECHO = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1]); context.load_verify_locations(sys.argv[2])
context.verify_mode = ssl.CERT_REQUIRED
server = socket.create_server(("127.0.0.1", int(sys.argv[3])))
print("ready", flush=True)
while True:
    tls = context.wrap_socket(server.accept()[0], server_side=True)
    while (cell := tls.recv(65536)):
        tls.sendall(bytes([3]) + cell[1:])
"""
"""Answers every ping, as long as pings come one at a time."""


class Scripted(asyncio.Protocol):
    """Answers what arrives with `answer(data)`; after so many answers it reads no more."""

    def __init__(self, answer, answers=1_000_000):
        self.answer = answer
        self.answers = answers

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(self.answer(data))
        self.answers -= 1
        if self.answers == 0:
            self.transport.pause_reading()


@contextlib.asynccontextmanager
async def serving(dialler, played, make):
    """A hand-made listener in the place of peer `played`, with that peer's own certificate."""
    address = dialler.addresses[played.state.peer_id]
    context = server_ssl_context(played.state)
    server = await asyncio.get_running_loop().create_server(make, *address, ssl=context)
    try:
        yield
    finally:
        server.close()
        await dialler.stop()


def records(stream):
    """The lengths of the TLS records in it."""
    while len(stream) >= 5:
        length = int.from_bytes(stream[3:5], "big")
        yield length
        stream = stream[5 + length :]


class Proxy:
    """Passes TCP on and keeps what the dialler sent; `flip` flips the last bit of each chunk of that."""

    def __init__(self, target):
        self.target = target
        self.flip = False
        self.sent = bytearray()

    async def start(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()

    async def accept(self, reader, writer):
        there_reader, there = await asyncio.open_connection(*self.target)
        await asyncio.gather(self.copy(reader, there, True), self.copy(there_reader, writer, False))

    async def copy(self, reader, writer, tamper):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if tamper and self.flip:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if tamper:
                    self.sent += data
                writer.write(data)
        writer.close()

    def close(self):
        self.server.close()
