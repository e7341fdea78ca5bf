"""All links of one peer: dials every enrolled peer and keeps dialling, accepts theirs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

from peerd.clock import Clock
from peerd.config import LinkConfig, parse_address
from peerd.errors import InvalidInputError
from peerd.link.connection import Common, Inbound, OnDrop, Outbound, Tap
from peerd.link.keepalive import Backoff
from peerd.link.listener import Listener
from peerd.link.throttle import Throttle
from peerd.types import DropReason, PeerId

Direction = Literal["outbound", "inbound"]
OnLink = Callable[[PeerId, Direction, bool], None]

LOG_EVERY_SECONDS = 10.0
CLOSE_SECONDS = 1.0


class LinkSnapshot(NamedTuple):
    outbound: Literal["connecting", "up", "down"]
    inbound: Literal["up", "down"]
    rtt_seconds: float | None
    queue_depth: int


class LinkTable:
    """`start` binds, `run` lives until cancelled, `send` is the hot path.

    `on_packet` gets the packets of all neighbours and never learns whose they are. `on_link` tells of
    each link that comes up or goes down, once. `on_drop` counts what `send` did not return: cells
    queued on a link that broke, and other sides refused (HANDSHAKE_FAILED, BAD_CERTIFICATE, BAD_CELL).
    """

    def __init__(
        self,
        *,
        config: LinkConfig,
        packet_bytes: int,
        tls_server: ssl.SSLContext,
        tls_client: ssl.SSLContext,
        addresses: Mapping[PeerId, tuple[str, int]],
        on_packet: Callable[[bytes], None],
        on_gossip: Callable[[bytes], None],
        on_link: OnLink,
        on_drop: OnDrop,
        clock: Clock,
        rng: random.Random,
        log: Any,
        tap: Tap | None = None,
    ) -> None:
        if config.dead_after_seconds <= config.keepalive_seconds:
            raise InvalidInputError(
                "[link] dead_after_seconds: must be more than keepalive_seconds, "
                "or every link counts as dead between two pings"
            )
        self._config = config
        self._tls_client = tls_client
        self._addresses = dict(addresses)
        self._on_link = on_link
        self._on_drop = on_drop
        self._clock = clock
        self._rng = rng
        self._log = log
        self._throttle = Throttle(LOG_EVERY_SECONDS)
        self._common = Common(packet_bytes, config, clock, self._refused, on_drop, tap)
        self._up: dict[PeerId, Outbound] = {}
        self._connecting: set[PeerId] = set()
        self._inbound: dict[PeerId, Inbound] = {}
        self._seen = {peer: asyncio.Event() for peer in self._addresses}
        self._listener = Listener(
            tls=tls_server,
            handshake_seconds=config.connect_timeout_seconds,
            make=lambda: Inbound(self._common, self._addresses.keys(), on_packet, on_gossip, self._accepted),
            on_refuse=self._refused,
        )

    def start(self) -> tuple[str, int]:
        """Bind the listener; the address that it got. ConflictError when the port is taken."""
        host, port = parse_address(self._config.listen, "[link] listen")
        return self._listener.bind(host, port)

    async def run(self) -> None:
        """Serve and dial until cancelled; then close every link."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listener.serve())
                for peer, (host, port) in self._addresses.items():
                    group.create_task(self._keep_dialling(peer, host, port))
        finally:
            await self.close()

    async def close(self) -> None:
        """Let the port go and close every link at once. What is unsent is lost, as on any link."""
        self._listener.close()
        links = list(self._common.open)
        for link in links:
            link.abort()
        if links:
            await asyncio.wait([link.closed for link in links], timeout=CLOSE_SECONDS)

    def send(self, peer: PeerId, packet: bytes) -> DropReason | None:
        """Hand a packet to the link of a neighbour; the reason where it was not taken.

        UNKNOWN_PEER, LINK_DOWN or LINK_QUEUE_FULL: for the caller to count.
        """
        link = self._up.get(peer)
        if link is not None:
            return link.send(packet)
        return DropReason.LINK_DOWN if peer in self._addresses else DropReason.UNKNOWN_PEER

    def announce(self, peer: PeerId, data: bytes) -> DropReason | None:
        """Hand a piece of gossip (at most `gossip_bytes`) to the link of a neighbour."""
        link = self._up.get(peer)
        return DropReason.LINK_DOWN if link is None else link.announce(data)

    def hold(self, held: bool) -> None:
        """Stop reading from all neighbours, or go on.

        Meanwhile they see a slow link: what they send waits in queues of their own. When we go on, each is
        read a little in turn, so that one that floods us does not crowd out the others.
        """
        self._common.held = held
        for link in self._common.open:
            link.hold(held)

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
    def neighbours(self) -> Collection[PeerId]:
        """Those to whom our link is up."""
        return self._up.keys()

    @property
    def links_up(self) -> tuple[int, int]:
        """(outbound, inbound)"""
        return len(self._up), len(self._inbound)

    @property
    def bytes_sent(self) -> int:
        """Cells on all links since the start, TLS and TCP not counted."""
        return self._common.bytes_sent

    @property
    def bytes_received(self) -> int:
        return self._common.bytes_received

    def _refused(self, reason: DropReason, detail: str) -> None:
        """The other side is to blame: count it, and log it unless that has just been done."""
        self._on_drop(reason)
        skipped = self._throttle.admit(reason, self._clock())
        if skipped is not None:
            self._log.warning("link refused", reason=reason.value, detail=detail, skipped=skipped)

    # -- dialling -------------------------------------------------------------

    async def _keep_dialling(self, peer: PeerId, host: str, port: int) -> None:
        config = self._config
        backoff = Backoff(config.backoff_min_seconds, config.backoff_max_seconds, self._rng)
        while True:
            link = await self._dial(peer, host, port)
            if link is not None and await self._hold(peer, link):
                backoff.reset()
            await self._wait(peer, backoff.wait())

    async def _wait(self, peer: PeerId, seconds: float) -> None:
        """Until the next attempt; sooner when the peer has dialled us meanwhile: it is back."""
        seen = self._seen[peer]
        shortest = min(seconds, self._config.backoff_min_seconds)
        await asyncio.sleep(shortest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - shortest):
                await seen.wait()

    async def _dial(self, peer: PeerId, host: str, port: int) -> Outbound | None:
        """A connection whose handshake is over. A peer that is not there is no error, and no news."""
        self._connecting.add(peer)
        self._seen[peer].clear()
        try:
            async with asyncio.timeout(self._config.connect_timeout_seconds):
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: Outbound(self._common, peer, self._dialled),
                    host,
                    port,
                    ssl=self._tls_client,
                    server_hostname="",  # no name in the clear: the peer id is what is checked
                )
        except ssl.SSLError as error:
            self._refused(DropReason.HANDSHAKE_FAILED, f"dialling {host}:{port}: {error}")
        except (OSError, UnicodeError) as error:  # UnicodeError: no valid host name
            self._log.debug("dial failed", address=f"{host}:{port}", error=str(error))
        else:
            return link
        self._connecting.discard(peer)
        return None

    async def _hold(self, peer: PeerId, link: Outbound) -> bool:
        """Until the link is gone. Whether it was ever up."""
        try:
            await asyncio.shield(link.closed)
        finally:
            link.abort()
            self._connecting.discard(peer)
            if self._up.get(peer) is link:
                del self._up[peer]
                self._on_link(peer, "outbound", False)
        return link.was_up

    def _dialled(self, link: Outbound) -> None:
        assert link.peer is not None
        self._up[link.peer] = link
        self._connecting.discard(link.peer)
        self._on_link(link.peer, "outbound", True)

    # -- accepting ------------------------------------------------------------

    def _accepted(self, link: Inbound) -> None:
        """A second connection of the same peer replaces the first, which must be a dead one."""
        assert link.peer is not None
        earlier = self._inbound.get(link.peer)
        self._inbound[link.peer] = link
        link.closed.add_done_callback(lambda _: self._lost(link))
        self._seen[link.peer].set()
        if earlier is not None:
            earlier.abort()
        else:
            self._on_link(link.peer, "inbound", True)

    def _lost(self, link: Inbound) -> None:
        assert link.peer is not None
        if self._inbound.get(link.peer) is link:
            del self._inbound[link.peer]
            self._on_link(link.peer, "inbound", False)
