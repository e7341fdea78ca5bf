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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from peerd.clock import Clock
from peerd.config import LinkConfig
from peerd.link.cells import HEAD_BYTES, Cell, CellKind, CellReader, cell_bytes, encode_cell, encode_gossip
from peerd.link.keepalive import Keepalive, Watchdog
from peerd.link.throttle import TokenBuckets
from peerd.membership import peer_of
from peerd.types import DropReason, PeerId

UNEXPECTED = "not the certificate of an expected peer"
WRITE_BUFFER_BYTES = 256 * 1024
"""What the transport may hold; beyond it cells wait in our own bounded queue, where they count."""
UNSENT_BYTES = 256 * 1024
"""What the kernel may hold unsent, where it can be told: pings wait behind it."""

UNREAD_BYTES = 1024 * 1024
"""What the kernel may hold unread, where it can be told: pings wait in it too while we do not read."""

OnDrop = Callable[[DropReason], None]
OnRefuse = Callable[[DropReason, str], None]
"""The other side did what no peer of ours does: counts it, and says it in the log (rate-limited)."""
Admit = Callable[[PeerId, bytes], DropReason | None]
"""Why this peer may not connect to us with this certificate (DER), which TLS has found good; None: it may."""
OnGossip = Callable[[PeerId, bytes], None]
"""(whose connection it came on, a piece of gossip)"""
Greet = Callable[[PeerId], bytes | None]
"""A piece of gossip for who has just connected to us: the one that goes against the direction of a link."""
Tap = Callable[[PeerId, CellKind, bytes], None]
"""For experiments: told of every cell that is written, to whom, of which kind, with its body."""
GOSSIP_BURST = 128.0
GOSSIP_PER_SECOND = 32.0
"""Cells of one neighbour, over all its connections: each may cost us the verification of signatures."""


@dataclass(slots=True)
class Common:
    """What all connections of a peer share."""

    packet_bytes: int
    config: LinkConfig
    clock: Clock
    on_refuse: OnRefuse
    on_drop: OnDrop
    tap: Tap | None = None
    bytes_sent: int = 0
    """Of cells, on all links since the start."""
    bytes_received: int = 0
    gossip_sent: int = 0
    """Cells."""
    gossip_received: int = 0
    """Cells that were handed on; those of a flood are not."""
    gossip_allowance: TokenBuckets = field(
        default_factory=lambda: TokenBuckets(GOSSIP_PER_SECOND, GOSSIP_BURST)
    )
    open: set[Connection] = field(default_factory=set)
    """Every connection whose handshake is over."""
    held: bool = False
    """Nothing more is read from those who send to us."""


class Connection(asyncio.BufferedProtocol):
    """What both ends share: cells in, one timer, and an end that is told once."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._clock = common.clock
        self._cell_bytes = cell_bytes(common.packet_bytes)
        self._reader = CellReader(common.packet_bytes)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self.peer: PeerId | None = None
        """Who it is; None until that is verified."""
        self._over = False
        """We have hung up: whatever still comes is not looked at."""
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._common.open.add(self)
        if self._over:
            self.abort()
            return
        peer = peer_of(transport.get_extra_info("peercert"))
        if peer is None:
            self._refuse(DropReason.BAD_CERTIFICATE, "not the certificate of a peer")
            return
        unwelcome = self._unwelcome(peer)
        if unwelcome is not None:
            self._refuse(unwelcome, UNEXPECTED)
            return
        self.peer = peer
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        _limit_kernel(transport)
        self._begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.space

    def buffer_updated(self, count: int) -> None:
        if self.peer is None or self._over:
            return
        self._common.bytes_received += count
        cells = self._reader.wrote(count)
        if (cells is None or not all(map(self._take, cells))) and not self._over:
            self._refuse(DropReason.BAD_CELL, "a peer sent a malformed cell")

    @abstractmethod
    def _unwelcome(self, peer: PeerId) -> DropReason | None:
        """Why we want no connection with the owner of this certificate of our CA; None where we do."""

    @abstractmethod
    def _begin(self) -> None:
        """The connection is authenticated."""

    @abstractmethod
    def _take(self, cell: Cell) -> bool:
        """Handle one cell; False when it may not come on this end, or when we have hung up because of it."""

    def _write(self, *cells: bytes) -> None:
        """Each becomes a TLS record of its own, or several if it is long; all of them one system call."""
        assert self._transport is not None
        self._transport.writelines(cells)
        self._common.bytes_sent += len(cells) * self._cell_bytes
        if self._common.tap is not None and self.peer is not None:
            for cell in cells:
                self._common.tap(self.peer, CellKind(cell[0]), cell[HEAD_BYTES:])

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def _refuse(self, reason: DropReason, detail: str) -> None:
        self._common.on_refuse(reason, detail)
        self.abort()

    def hold(self, held: bool) -> None:
        """Stop reading, or go on; only where packets come in."""

    def reconsider(self) -> None:
        """Hang up if the other side is not welcome any more; only where others connect to us."""

    def abort(self) -> None:
        """Close at once, without waiting for what is buffered, or as soon as it is open."""
        self._over = True
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

    Cells that are sent in one turn of the event loop are written together at its end: a system call costs
    as much as a cell's encryption.
    """

    def __init__(
        self, common: Common, peer: PeerId, on_up: Callable[[Outbound], None], on_gossip: OnGossip
    ) -> None:
        super().__init__(common)
        self._to = peer
        self._on_up = on_up
        self._on_gossip = on_gossip
        self._greeted = False
        self._head = encode_cell(CellKind.PACKET, b"", 0)
        self._queue: deque[bytes] = deque()
        self._cells_at_a_time = max(WRITE_BUFFER_BYTES // self._cell_bytes, 1)
        self._flush_soon: asyncio.Handle | None = None
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
        """Queue a packet. LINK_QUEUE_FULL, while the other side takes less than comes; LINK_DOWN."""
        return self._send_cell(self._head + packet)

    def announce(self, data: bytes) -> DropReason | None:
        """The same for a piece of gossip."""
        refused = self._send_cell(encode_gossip(data, self._common.packet_bytes))
        if refused is None:
            self._common.gossip_sent += 1
        return refused

    def _send_cell(self, cell: bytes) -> DropReason | None:
        if self._transport is None or self._transport.is_closing():
            return DropReason.LINK_DOWN
        if len(self._queue) >= self._common.config.queue_cells:
            self._flush()
            if len(self._queue) >= self._common.config.queue_cells:
                return DropReason.LINK_QUEUE_FULL
        self._queue.append(cell)
        if self._flush_soon is None and not self._paused:
            self._flush_soon = self._loop.call_soon(self._flush)
        return None

    def _flush(self) -> None:
        """Write what is queued, until the transport is full."""
        self._flush_soon = None
        if self._transport is None or self._transport.is_closing():
            return  # the queue is counted when the connection is lost
        queue = self._queue
        while queue and not self._paused:
            count = min(len(queue), self._cells_at_a_time)
            self._write(*[queue.popleft() for _ in range(count)])

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def _unwelcome(self, peer: PeerId) -> DropReason | None:
        return None if peer == self._to else DropReason.BAD_CERTIFICATE

    def _begin(self) -> None:
        self._keep_alive()

    def _take(self, cell: Cell) -> bool:
        if cell.kind is CellKind.GOSSIP and not self._greeted:
            self._greeted = True  # once: what the other side knows of us
            self._common.gossip_received += 1
            self._on_gossip(self._to, cell.body)
            return not self._over
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
        if self._flush_soon is not None:
            self._flush_soon.cancel()
        while self._queue:
            self._queue.popleft()
            self._common.on_drop(DropReason.LINK_DOWN)
        if isinstance(error, ssl.SSLError) and not self.was_up:
            self._common.on_refuse(DropReason.HANDSHAKE_FAILED, "refused by the one we dialled")
        super().connection_lost(error)


class Inbound(Connection):
    """A neighbour's connection to us. Packets are handed on without the name of who sent them.

    `admit` is asked when the other side has proved that its certificate is of our CA.
    """

    def __init__(
        self,
        common: Common,
        admit: Admit,
        on_packet: Callable[[bytes], None],
        on_gossip: OnGossip,
        on_up: Callable[[Inbound], None],
        greet: Greet,
    ) -> None:
        super().__init__(common)
        self._admit = admit
        self._greet = greet
        self._certificate = b""
        self._on_packet = on_packet
        self._on_gossip = on_gossip
        self._on_up = on_up
        self._interval = common.config.keepalive_seconds
        self._watchdog = Watchdog(self._interval, common.config.dead_after_seconds, common.clock())
        self._next_look = 0.0

    def _unwelcome(self, peer: PeerId) -> DropReason | None:
        assert self._transport is not None
        self._certificate = self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return self._admit(peer, self._certificate)

    def reconsider(self) -> None:
        if self.peer is None or self._over:
            return
        unwelcome = self._admit(self.peer, self._certificate)
        if unwelcome is not None:
            self._refuse(unwelcome, UNEXPECTED)

    def _begin(self) -> None:
        if self._common.held:
            self.hold(True)
        self._on_up(self)
        assert self.peer is not None
        greeting = self._greet(self.peer)
        if greeting is not None and not self._over:
            # Past the tap: a trace tells of each link's cells in order, and this one goes the other way.
            assert self._transport is not None
            self._transport.write(encode_gossip(greeting, self._common.packet_bytes))
            self._common.bytes_sent += self._cell_bytes
            self._common.gossip_sent += 1
        self._look_again()

    def hold(self, held: bool) -> None:
        assert self._transport is not None
        if held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def buffer_updated(self, count: int) -> None:
        # Not pings alone: while we hold it, a ping waits behind packets that we have not read.
        self._watchdog.heard(self._clock())
        super().buffer_updated(count)

    def _take(self, cell: Cell) -> bool:
        if cell.kind is CellKind.PACKET:
            self._on_packet(cell.body)
        elif cell.kind is CellKind.PING:
            if not self._paused:  # a neighbour that pings and never reads gets no memory of ours
                self._write(encode_cell(CellKind.PONG, cell.body, self._common.packet_bytes))
        elif cell.kind is CellKind.GOSSIP:
            return self._heed(cell.body)
        else:
            return False
        return True

    def _heed(self, gossip: bytes) -> bool:
        """Hand it on, unless there is too much of it. It may be the news that this very peer is revoked."""
        assert self.peer is not None
        now = self._clock()
        if self._common.gossip_allowance.of(self.peer, now).admit(now):
            self._common.gossip_received += 1
            self._on_gossip(self.peer, gossip)
        else:
            self._common.on_drop(DropReason.GOSSIP_FLOOD)
        return not self._over

    def _look(self) -> None:
        if self._watchdog.is_dead(self._clock(), self._next_look):
            self.abort()
        else:
            self._look_again()

    def _look_again(self) -> None:
        self._next_look = min(self._clock() + self._interval, self._watchdog.deadline)
        self._timer = self._loop.call_at(self._next_look, self._look)


def _limit_kernel(transport: asyncio.BaseTransport) -> None:
    """So that a slow link fills our queues, which are short and count, and not the kernel's megabytes."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return
    for name, value in (("TCP_NOTSENT_LOWAT", UNSENT_BYTES), ("TCP_WINDOW_CLAMP", UNREAD_BYTES)):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
