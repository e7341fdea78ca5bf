"""The two ends of a link as asyncio protocols: `Outbound` sends packets, `Inbound` receives them.

Protocols instead of streams, and no task for a cell: a peer handles thousands of cells a second.
Both run on TLS transports, so that `connection_made` means: the handshake is over and the other side's
certificate is of our CA. Whose it is they check there, before a single byte of it is looked at.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import cast

from peerd.clock import Clock
from peerd.config import LinkConfig
from peerd.link.cells import Cell, CellKind, CellReader, cell_bytes, encode_cell
from peerd.link.keepalive import Keepalive, Watchdog
from peerd.membership import peer_of
from peerd.types import DropReason, PeerId

WRITE_BUFFER_BYTES = 256 * 1024
"""What the transport may hold; beyond it cells wait in our own bounded queue, where they count."""
UNSENT_BYTES = 256 * 1024
"""What the kernel may hold unsent, where it can be told: pings wait behind it."""

OnDrop = Callable[[DropReason], None]
OnRefuse = Callable[[DropReason, str], None]
"""The other side did what no peer of ours does: counts it, and says it in the log (rate-limited)."""


@dataclass(slots=True)
class Common:
    """What all connections of a peer share."""

    packet_bytes: int
    config: LinkConfig
    clock: Clock
    on_refuse: OnRefuse
    on_drop: OnDrop
    bytes_sent: int = 0
    """Of cells, on all links since the start."""
    bytes_received: int = 0
    open: set[Connection] = field(default_factory=set)
    """Every connection whose handshake is over."""


class Connection(asyncio.Protocol):
    """What both ends share: cells in, one timer, and an end that is told once."""

    def __init__(self, common: Common, expected: Container[PeerId]) -> None:
        self._common = common
        self._expected = expected
        self._clock = common.clock
        self._cell_bytes = cell_bytes(common.packet_bytes)
        self._reader = CellReader(common.packet_bytes)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self.peer: PeerId | None = None
        """Who it is; None until that is verified."""
        self.refused = False
        """Whether we hung up because of what the other side did."""
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._common.open.add(self)
        peer = peer_of(transport.get_extra_info("peercert"))
        if peer is None or peer not in self._expected:
            self._refuse(DropReason.BAD_CERTIFICATE, "not the certificate of an expected peer")
            return
        self.peer = peer
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        _limit_unsent(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        if self.peer is None or self.refused:
            return
        self._common.bytes_received += len(data)
        cells = self._reader.feed(data)
        if cells is None or not all(map(self._take, cells)):
            self._refuse(DropReason.BAD_CELL, "a peer sent a malformed cell")

    @abstractmethod
    def _begin(self) -> None:
        """The connection is authenticated."""

    @abstractmethod
    def _take(self, cell: Cell) -> bool:
        """Handle one cell; False when it may not come on this end."""

    def _write(self, cell: bytes) -> None:
        assert self._transport is not None
        self._transport.write(cell)
        self._common.bytes_sent += self._cell_bytes

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def _refuse(self, reason: DropReason, detail: str) -> None:
        self.refused = True
        self._common.on_refuse(reason, detail)
        self.abort()

    def abort(self) -> None:
        """Close at once, without waiting for what is buffered."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._common.open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)


class Outbound(Connection):
    """Our connection to one neighbour. It is up from the first pong on.

    Not from the handshake on: under TLS 1.3 the dialler's handshake ends before the listener has seen
    the dialler's certificate, so a peer that does not know us would seem to be up for a moment.
    """

    def __init__(self, common: Common, peer: PeerId, on_up: Callable[[Outbound], None]) -> None:
        super().__init__(common, (peer,))
        self._on_up = on_up
        self._head = encode_cell(CellKind.PACKET, b"", 0)
        self._queue: deque[bytes] = deque()
        config = common.config
        self._keepalive = Keepalive(config.keepalive_seconds, config.dead_after_seconds, common.clock())
        self.was_up = False

    @property
    def rtt(self) -> float | None:
        """Smoothed seconds of a ping and its pong; None before the first."""
        return self._keepalive.rtt

    @property
    def queue_depth(self) -> int:
        return len(self._queue)

    def send(self, packet: bytes) -> DropReason | None:
        """Write a packet, or queue it while the transport is full. LINK_QUEUE_FULL, LINK_DOWN."""
        if self._transport is None or self._transport.is_closing():
            return DropReason.LINK_DOWN
        if self._paused:
            if len(self._queue) >= self._common.config.queue_cells:
                return DropReason.LINK_QUEUE_FULL
            self._queue.append(packet)
        else:
            self._write(self._head + packet)
        return None

    def resume_writing(self) -> None:
        self._paused = False
        while self._queue and not self._paused:
            self._write(self._head + self._queue.popleft())

    def _begin(self) -> None:
        self._keep_alive()

    def _take(self, cell: Cell) -> bool:
        if cell.kind is not CellKind.PONG or not self._keepalive.pong(cell.body, self._clock()):
            return False
        if not self.was_up:
            self.was_up = True
            self._on_up(self)
        return True

    def _keep_alive(self) -> None:
        now = self._clock()
        if self._keepalive.is_dead(now):
            self.abort()
            return
        number = self._keepalive.ping(now)
        if number is not None:
            # Past the queue: a ping that waits behind it would measure our own backlog.
            self._write(encode_cell(CellKind.PING, number, self._common.packet_bytes))
        self._timer = self._loop.call_at(self._keepalive.next_deadline(), self._keep_alive)

    def connection_lost(self, error: Exception | None) -> None:
        while self._queue:
            self._queue.popleft()
            self._common.on_drop(DropReason.LINK_DOWN)
        if isinstance(error, ssl.SSLError) and not self.was_up:
            self._common.on_refuse(DropReason.HANDSHAKE_FAILED, "refused by the one we dialled")
        super().connection_lost(error)


class Inbound(Connection):
    """A neighbour's connection to us. Packets are handed on without the name of who sent them."""

    def __init__(
        self,
        common: Common,
        enrolled: Container[PeerId],
        on_packet: Callable[[bytes], None],
        on_up: Callable[[Inbound], None],
    ) -> None:
        super().__init__(common, enrolled)
        self._on_packet = on_packet
        self._on_up = on_up
        self._interval = common.config.keepalive_seconds
        self._watchdog = Watchdog(self._interval, common.config.dead_after_seconds, common.clock())
        self._next_look = 0.0

    def _begin(self) -> None:
        self._on_up(self)
        self._look_again()

    def _take(self, cell: Cell) -> bool:
        if cell.kind is CellKind.PACKET:
            self._on_packet(cell.body)
        elif cell.kind is CellKind.PING:
            self._watchdog.heard(self._clock())
            if not self._paused:  # a neighbour that pings and never reads gets no memory of ours
                self._write(encode_cell(CellKind.PONG, cell.body, self._common.packet_bytes))
        else:
            return False
        return True

    def _look(self) -> None:
        if self._watchdog.is_dead(self._clock(), self._next_look):
            self.abort()
        else:
            self._look_again()

    def _look_again(self) -> None:
        self._next_look = min(self._clock() + self._interval, self._watchdog.deadline)
        self._timer = self._loop.call_at(self._next_look, self._look)


def _limit_unsent(transport: asyncio.BaseTransport) -> None:
    """So that a slow link fills our queue, which counts, and not the kernel's megabytes."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    connection = transport.get_extra_info("socket")
    if option is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
