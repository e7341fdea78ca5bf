"""All links of one peer: dials every enrolled peer and keeps dialling, accepts theirs."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from peerd.clock import Clock
from peerd.config import LinkConfig, parse_address
from peerd.link.connection import Inbound, Outbound, peer_behind
from peerd.link.keepalive import Backoff
from peerd.link.listener import Listener
from peerd.types import DropReason, PeerId

Direction = Literal["outbound", "inbound"]
OnLink = Callable[[PeerId, Direction, bool], None]


class LinkSnapshot(NamedTuple):
    outbound: Literal["connecting", "up", "down"]
    inbound: Literal["up", "down"]
    rtt_seconds: float | None
    queue_depth: int


class LinkTable:
    """`start` binds, `run` lives until cancelled, `send` is the hot path."""

    def __init__(
        self,
        *,
        config: LinkConfig,
        packet_bytes: int,
        tls_server: ssl.SSLContext,
        tls_client: ssl.SSLContext,
        addresses: Mapping[PeerId, tuple[str, int]],
        on_packet: Callable[[bytes], None],
        on_link: OnLink,
        on_drop: Callable[[DropReason], None],
        clock: Clock,
        rng: random.Random,
        log: Any,
    ) -> None:
        self._config = config
        self._packet_bytes = packet_bytes
        self._tls_client = tls_client
        self._addresses = dict(addresses)
        self._on_link = on_link
        self._on_drop = on_drop
        self._clock = clock
        self._rng = rng
        self._log = log
        self._up: dict[PeerId, Outbound] = {}
        self._connecting: set[PeerId] = set()
        self._inbound: dict[PeerId, Inbound] = {}
        self._closed_sent = 0
        self._closed_received = 0
        self._listener = Listener(
            tls=tls_server,
            enrolled=self._addresses.keys(),
            make=lambda: Inbound(packet_bytes, config.dead_after_seconds, clock, on_packet, on_drop),
            on_inbound=self._accept,
            on_drop=on_drop,
            log=log,
        )

    async def start(self) -> tuple[str, int]:
        """Bind the listener; the address that it got. ConflictError when the port is taken."""
        host, port = parse_address(self._config.listen, "[link] listen")
        return await self._listener.bind(host, port)

    async def run(self) -> None:
        """Serve and dial until cancelled; then close every link."""
        try:
            async with asyncio.TaskGroup() as group:
                await self._listener.serve(group)
                for peer, (host, port) in self._addresses.items():
                    group.create_task(self._keep_dialling(peer, host, port))
        finally:
            self._listener.close()
            for link in self._links():
                link.abort()

    def send(self, peer: PeerId, packet: bytes) -> DropReason | None:
        """Hand a packet to the link of a neighbour; the reason where it was not taken."""
        link = self._up.get(peer)
        if link is not None:
            return link.send(packet)
        return DropReason.LINK_DOWN if peer in self._addresses else DropReason.UNKNOWN_PEER

    def snapshot(self, peer: PeerId) -> LinkSnapshot:
        link = self._up.get(peer)
        waiting: Literal["connecting", "down"] = "connecting" if peer in self._connecting else "down"
        return LinkSnapshot(
            outbound="up" if link is not None else waiting,
            inbound="up" if peer in self._inbound else "down",
            rtt_seconds=None if link is None else link.rtt,
            queue_depth=0 if link is None else link.queue_depth,
        )

    @property
    def queue_depth(self) -> int:
        """Cells that wait on all outbound links."""
        return sum(link.queue_depth for link in self._up.values())

    @property
    def links_up(self) -> tuple[int, int]:
        """(outbound, inbound)"""
        return len(self._up), len(self._inbound)

    @property
    def bytes_sent(self) -> int:
        return self._closed_sent + sum(link.bytes_sent for link in self._links())

    @property
    def bytes_received(self) -> int:
        return self._closed_received + sum(link.bytes_received for link in self._links())

    def _links(self) -> list[Outbound | Inbound]:
        return [*self._up.values(), *self._inbound.values()]

    def _retire(self, link: Outbound | Inbound) -> None:
        self._closed_sent += link.bytes_sent
        self._closed_received += link.bytes_received

    # -- dialling -------------------------------------------------------------

    async def _keep_dialling(self, peer: PeerId, host: str, port: int) -> None:
        config = self._config
        backoff = Backoff(config.backoff_min_seconds, config.backoff_max_seconds, self._rng)
        while True:
            link = await self._dial(peer, host, port)
            if link is not None:
                connected = self._clock()
                await self._hold(peer, link)
                if self._clock() - connected > config.dead_after_seconds:
                    backoff.reset()  # it did hold for a while: this is a new outage
            await asyncio.sleep(backoff.wait())

    async def _dial(self, peer: PeerId, host: str, port: int) -> Outbound | None:
        self._connecting.add(peer)
        try:
            async with asyncio.timeout(self._config.connect_timeout_seconds):
                transport, link = await asyncio.get_running_loop().create_connection(
                    self._make_outbound, host, port, ssl=self._tls_client, server_hostname=""
                )
        except (OSError, ssl.SSLError) as error:
            self._log.debug("dial failed", error=str(error))
            return None
        finally:
            self._connecting.discard(peer)
        if peer_behind(transport) != peer:
            self._on_drop(DropReason.BAD_CERTIFICATE)
            self._log.warning("another peer answers at this address", address=f"{host}:{port}")
            transport.abort()
            return None
        return link

    def _make_outbound(self) -> Outbound:
        return Outbound(
            self._packet_bytes,
            self._config.queue_cells,
            self._config.keepalive_seconds,
            self._config.dead_after_seconds,
            self._clock,
            self._on_drop,
        )

    async def _hold(self, peer: PeerId, link: Outbound) -> None:
        """Use the link until it breaks."""
        self._up[peer] = link
        link.begin()
        self._on_link(peer, "outbound", True)
        try:
            await link.closed
        finally:
            link.abort()
            del self._up[peer]
            self._retire(link)
            self._on_link(peer, "outbound", False)

    # -- accepting ------------------------------------------------------------

    def _accept(self, peer: PeerId, inbound: Inbound) -> None:
        """A second connection of the same peer replaces the first, which must be a dead one."""
        earlier = self._inbound.get(peer)
        self._inbound[peer] = inbound
        inbound.closed.add_done_callback(lambda _: self._lost(peer, inbound))
        if earlier is not None:
            earlier.abort()
        else:
            self._on_link(peer, "inbound", True)

    def _lost(self, peer: PeerId, inbound: Inbound) -> None:
        self._retire(inbound)
        if self._inbound.get(peer) is inbound:
            del self._inbound[peer]
            self._on_link(peer, "inbound", False)
