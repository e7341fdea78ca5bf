"""The two ends of a link as asyncio protocols: `Outbound` sends packets, `Inbound` receives them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from peerd.clock import Clock
from peerd.link.cells import CellKind, CellReader, cell_bytes, encode_cell
from peerd.link.keepalive import Keepalive
from peerd.membership import peer_of
from peerd.types import DropReason, PeerId

WRITE_BUFFER_BYTES = 256 * 1024
"""What the transport may hold; beyond it cells wait in our own bounded queue, where they count."""

OnDrop = Callable[[DropReason], None]


def peer_behind(transport: asyncio.BaseTransport) -> PeerId | None:
    """Who the verified certificate of the other side says it is."""
    return peer_of(transport.get_extra_info("peercert"))


class Outbound(asyncio.Protocol):
    """Our connection to one neighbour."""

    def __init__(
        self,
        packet_bytes: int,
        queue_cells: int,
        keepalive_seconds: float,
        dead_after: float,
        clock: Clock,
        on_drop: OnDrop,
    ) -> None:
        self._packet_bytes = packet_bytes
        self._head = encode_cell(CellKind.PACKET, b"", 0)
        self._queue: deque[bytes] = deque()
        self._queue_cells = queue_cells
        self._clock = clock
        self._on_drop = on_drop
        self._reader = CellReader(packet_bytes)
        self._keepalive = Keepalive(keepalive_seconds, dead_after, clock())
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.bytes_sent = 0
        self.bytes_received = 0

    @property
    def rtt(self) -> float | None:
        return self._keepalive.rtt

    @property
    def queue_depth(self) -> int:
        return len(self._queue)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def begin(self) -> None:
        """The neighbour is who we dialled: keep the connection alive from now on."""
        self._keep_alive()

    def send(self, packet: bytes) -> DropReason | None:
        """Write a packet, or queue it while the transport is full. LINK_QUEUE_FULL, LINK_DOWN."""
        if self._transport is None or self._transport.is_closing():
            return DropReason.LINK_DOWN
        if self._paused:
            if len(self._queue) >= self._queue_cells:
                return DropReason.LINK_QUEUE_FULL
            self._queue.append(packet)
        else:
            self._write(packet)
        return None

    def _write(self, packet: bytes) -> None:
        assert self._transport is not None
        self._transport.write(self._head + packet)
        self.bytes_sent += cell_bytes(self._packet_bytes)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._queue and not self._paused:
            self._write(self._queue.popleft())

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        cells = self._reader.feed(data)
        now = self._clock()
        for cell in cells or ():
            if cell.kind is not CellKind.PONG or not self._keepalive.pong(cell.body, now):
                cells = None
                break
        if cells is None:
            self._on_drop(DropReason.BAD_CELL)
            self.abort()

    def _keep_alive(self) -> None:
        now = self._clock()
        if self._keepalive.is_dead(now):
            self.abort()
            return
        number = self._keepalive.ping(now)
        if number is not None and self._transport is not None:
            # Past the queue: a ping that waits behind it would measure our own backlog.
            self._transport.write(encode_cell(CellKind.PING, number, self._packet_bytes))
            self.bytes_sent += cell_bytes(self._packet_bytes)
        self._timer = self._loop.call_at(self._keepalive.next_deadline(), self._keep_alive)

    def abort(self) -> None:
        """Close at once, without waiting for what is buffered."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for _ in self._queue:
            self._on_drop(DropReason.LINK_DOWN)
        self._queue.clear()
        if not self.closed.done():
            self.closed.set_result(None)


class Inbound(asyncio.Protocol):
    """A neighbour's connection to us. Packets are handed on without the name of who sent them."""

    def __init__(
        self,
        packet_bytes: int,
        dead_after: float,
        clock: Clock,
        on_packet: Callable[[bytes], None],
        on_drop: OnDrop,
    ) -> None:
        self._packet_bytes = packet_bytes
        self._dead_after = dead_after
        self._clock = clock
        self._on_packet = on_packet
        self._on_drop = on_drop
        self._reader = CellReader(packet_bytes)
        self._loop = asyncio.get_running_loop()
        self._heard = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.bytes_sent = 0
        self.bytes_received = 0

    def begin(self, transport: asyncio.Transport) -> None:
        """TLS is up and the peer is enrolled."""
        self._transport = transport
        self._watch()

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        self._heard = self._clock()
        cells = self._reader.feed(data)
        if cells is None:
            self._refuse()
            return
        for cell in cells:
            if cell.kind is CellKind.PACKET:
                self._on_packet(cell.body)
            elif cell.kind is CellKind.PING:
                self._pong(cell.body)
            else:
                self._refuse()
                return

    def _pong(self, number: bytes) -> None:
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > WRITE_BUFFER_BYTES:
            return  # a neighbour that pings and never reads gets no memory of ours
        transport.write(encode_cell(CellKind.PONG, number, self._packet_bytes))
        self.bytes_sent += cell_bytes(self._packet_bytes)

    def _refuse(self) -> None:
        self._on_drop(DropReason.BAD_CELL)
        self.abort()

    def _watch(self) -> None:
        now = self._clock()
        if now >= self._heard + self._dead_after:
            self.abort()
        else:
            self._timer = self._loop.call_at(self._heard + self._dead_after, self._watch)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
