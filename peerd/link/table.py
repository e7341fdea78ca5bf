"""All links of one peer: dials whom it is told to, and keeps dialling; accepts the others."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from peerd.clock import Clock
from peerd.config import LinkConfig, parse_address
from peerd.errors import InvalidInputError
from peerd.link.cells import cell_bytes
from peerd.link.connection import Common, Greet, Inbound, OnDrop, OnGossip, Outbound, Tap
from peerd.link.dialler import Dialler, Dialling, Policy
from peerd.link.listener import Listener
from peerd.link.throttle import Throttle
from peerd.types import DropReason, PeerId

Direction = Literal["outbound", "inbound"]
OnLink = Callable[[PeerId, Direction, bool], None]
Expects = Callable[[PeerId, bytes], bool]
"""Whether this peer may connect with this certificate (DER), which TLS has found good."""

LOG_EVERY_SECONDS = 10.0
CLOSE_SECONDS = 1.0
MAX_STRANGERS = 256
"""Inbound links of peers that we do not dial: newcomers, for a moment. A delegate gone bad could make up
any number of them."""


class LinkSnapshot(NamedTuple):
    outbound: Literal["connecting", "up", "down"]
    inbound: Literal["up", "down"]
    rtt_seconds: float | None
    queue_depth: int


class LinkTable:
    """`start` binds, `run` lives until cancelled, `send` is the hot path.

    Who is dialled, `set_addresses` and `forget` say, before or while it runs. Who may connect, `expects`
    says, which is asked of every owner of a certificate of our CA, also of one whom nobody knows yet.

    `on_packet` gets the packets of all neighbours and never learns whose they are. `on_gossip` gets gossip
    and the neighbour that it came from. `greet` gives what a peer is told that has just connected. `on_link`
    tells of each link that comes up or goes down, once.
    `on_drop` counts what `send` did not return: cells queued on a link that broke, and other sides refused
    (HANDSHAKE_FAILED, BAD_CERTIFICATE, REVOKED_PEER: not expected, UNKNOWN_PEER: too many newcomers at a
    time, BAD_CELL, GOSSIP_FLOOD).
    """

    def __init__(
        self,
        *,
        config: LinkConfig,
        packet_bytes: int,
        tls_server: ssl.SSLContext,
        tls_client: ssl.SSLContext,
        policy: Policy,
        expects: Expects,
        on_packet: Callable[[bytes], None],
        on_gossip: OnGossip,
        on_link: OnLink,
        on_drop: OnDrop,
        clock: Clock,
        rng: random.Random,
        log: Any,
        greet: Greet = lambda _peer: None,
        tap: Tap | None = None,
    ) -> None:
        if config.dead_after_seconds <= config.keepalive_seconds:
            raise InvalidInputError(
                "[link] dead_after_seconds: must be more than keepalive_seconds, "
                "or every link counts as dead between two pings"
            )
        self._config = config
        self._expects = expects
        self._on_link = on_link
        self._on_drop = on_drop
        self._clock = clock
        self._log = log
        self._throttle = Throttle(LOG_EVERY_SECONDS)
        self._common = Common(packet_bytes, config, clock, self._refused, on_drop, tap)
        self._up: dict[PeerId, Outbound] = {}
        self._inbound: dict[PeerId, Inbound] = {}
        self._diallers: dict[PeerId, Dialler] = {}
        self._dials: dict[PeerId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._dialling = Dialling(
            common=self._common,
            tls=tls_client,
            policy=policy,
            on_up=self._dialled,
            on_gossip=on_gossip,
            on_over=self._dial_over,
            on_forbidden=self._forbidden,
            rng=rng,
            log=log,
        )
        self._listener = Listener(
            tls=tls_server,
            handshake_seconds=config.connect_timeout_seconds,
            make=lambda: Inbound(self._common, self._admit, on_packet, on_gossip, self._accepted, greet),
            on_refuse=self._refused,
        )

    # -- life -----------------------------------------------------------------

    def start(self) -> tuple[str, int]:
        """Bind the listener; the address that it got. ConflictError when the port is taken."""
        host, port = parse_address(self._config.listen, "[link] listen")
        return self._listener.bind(host, port)

    def set_queue_cells(self, queue_cells: int) -> None:
        """How many cells may wait on each link; those that wait beyond it stay."""
        self._common.config = replace(self._common.config, queue_cells=queue_cells)

    def set_policy(self, policy: Policy) -> None:
        """Whom to dial, from the next dial on."""
        self._dialling.policy = policy

    async def run(self) -> None:
        """Serve and dial until cancelled; then close every link."""
        try:
            async with asyncio.TaskGroup() as self._group:
                try:
                    for peer, dialler in self._diallers.items():
                        self._keep_dialling(peer, dialler)
                    await self._listener.serve()
                finally:
                    self._group = None  # what is still told us while the dials end starts no new one
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

    # -- who is a neighbour ---------------------------------------------------

    def set_addresses(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        """Dial this peer, at these addresses (host:port) in turn; or go on with these instead of others.

        A link to an address that is not among them is given up for a new one. InvalidInputError for what
        is not host:port.
        """
        for address in addresses:
            parse_address(address)
        dialler = self._diallers.get(peer)
        if dialler is not None:
            dialler.move(addresses)
            return
        self._diallers[peer] = dialler = Dialler(peer, addresses, self._dialling)
        self._keep_dialling(peer, dialler)

    def forget(self, peer: PeerId) -> None:
        """Stop dialling this peer and close its connections at once, whoever opened them.

        That it does not come back is for `expects` to say, which must know before.
        """
        self._diallers.pop(peer, None)
        dial = self._dials.pop(peer, None)
        if dial is not None:
            dial.cancel()
        for link in list(self._common.open):
            if link.peer == peer:
                link.abort()

    def reconsider(self) -> None:
        """Ask `expects` again of all who are connected to us, since it may think otherwise now."""
        for link in list(self._common.open):
            link.reconsider()

    def set_tls(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        """For all handshakes from now on; links that are up stay."""
        self._listener.set_tls(server)
        self._dialling.tls = client
        for dialler in self._diallers.values():
            dialler.wake()  # those that failed may succeed now

    # -- cells ----------------------------------------------------------------

    def send(self, peer: PeerId, packet: bytes) -> DropReason | None:
        """Hand a packet to the link of a neighbour; the reason where it was not taken.

        UNKNOWN_PEER, LINK_DOWN or LINK_QUEUE_FULL: for the caller to count.
        """
        link = self._up.get(peer)
        if link is not None:
            return link.send(packet)
        return DropReason.LINK_DOWN if peer in self._diallers else DropReason.UNKNOWN_PEER

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

    # -- what is known --------------------------------------------------------

    def snapshot(self, peer: PeerId) -> LinkSnapshot:
        link, dialler = self._up.get(peer), self._diallers.get(peer)
        waiting: Literal["connecting", "down"] = "down" if dialler is None else dialler.state
        return LinkSnapshot(
            outbound="up" if link is not None else waiting,
            inbound="up" if peer in self._inbound else "down",
            rtt_seconds=None if link is None else link.rtt,
            queue_depth=0 if link is None else link.queue_depth,
        )

    @property
    def queue_depth(self) -> int:
        """Cells that wait on the outbound link where most do."""
        return max((link.queue_depth for link in self._up.values()), default=0)

    @property
    def queue_limit(self) -> int:
        """Cells that one outbound link lets wait."""
        return self._common.config.queue_cells

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

    @property
    def cell_bytes(self) -> int:
        """Of every cell."""
        return cell_bytes(self._common.packet_bytes)

    @property
    def gossip_cells(self) -> tuple[int, int]:
        """(sent, received) on all links since the start; floods are not counted."""
        return self._common.gossip_sent, self._common.gossip_received

    def _refused(self, reason: DropReason, detail: str) -> None:
        """The other side is to blame: count it, and log it unless that has just been done."""
        self._on_drop(reason)
        skipped = self._throttle.admit(reason, self._clock())
        if skipped is not None:
            self._log.warning("link refused", reason=reason.value, detail=detail, skipped=skipped)

    # -- dialling -------------------------------------------------------------

    def _keep_dialling(self, peer: PeerId, dialler: Dialler) -> None:
        if self._group is not None:
            self._dials[peer] = self._group.create_task(dialler.run(), name="dial")

    def _forbidden(self, peer: PeerId, address: str) -> None:
        skipped = self._throttle.admit("forbidden", self._clock())
        if skipped is not None:
            self._log.warning(
                "address not dialled: the policy forbids it",
                peer=peer.hex(),
                address=address,
                skipped=skipped,
            )

    def _dialled(self, link: Outbound) -> None:
        assert link.peer is not None
        self._up[link.peer] = link
        self._on_link(link.peer, "outbound", True)

    def _dial_over(self, peer: PeerId, link: Outbound) -> None:
        if self._up.get(peer) is link:
            del self._up[peer]
            self._on_link(peer, "outbound", False)

    # -- accepting ------------------------------------------------------------

    def _admit(self, peer: PeerId, certificate: bytes) -> DropReason | None:
        if not self._expects(peer, certificate):
            return DropReason.REVOKED_PEER
        if peer in self._diallers or peer in self._inbound:
            return None
        strangers = sum(known not in self._diallers for known in self._inbound)
        return DropReason.UNKNOWN_PEER if strangers >= MAX_STRANGERS else None

    def _accepted(self, link: Inbound) -> None:
        """A second connection of the same peer replaces the first, which must be a dead one."""
        assert link.peer is not None
        earlier = self._inbound.get(link.peer)
        self._inbound[link.peer] = link
        link.closed.add_done_callback(lambda _: self._lost(link))
        dialler = self._diallers.get(link.peer)
        if dialler is not None:
            dialler.wake()  # it is back
        if earlier is not None:
            earlier.abort()
        else:
            self._on_link(link.peer, "inbound", True)

    def _lost(self, link: Inbound) -> None:
        assert link.peer is not None
        if self._inbound.get(link.peer) is link:
            del self._inbound[link.peer]
            self._on_link(link.peer, "inbound", False)
