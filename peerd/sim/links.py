"""The links of one simulated daemon: dialled, accepted, lost, dialled again, as `peerd.link` does it.

A connection belongs to two daemons, not to two peers: who was restarted, or runs twice, is another daemon.
Pings are not sent; what they would find out is worked out: an end that hears nothing of the other for
`dead_after_seconds`, because that is frozen or cut off, hangs up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from peerd.config import LinkConfig
from peerd.link import Backoff
from peerd.sim.timeline import Action, Alarm
from peerd.types import DropReason, PeerId

Take = Callable[[bytes], None]
KERNEL_CELLS = 1024


class End(Protocol):
    """A daemon, as the other end of a link sees it."""

    @property
    def place(self) -> int:
        """The number of its host."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def certificate(self) -> bytes:
        """DER."""

    @property
    def ended(self) -> str:
        """Why; empty while it runs."""

    @property
    def now(self) -> float: ...

    @property
    def links(self) -> SimLinks: ...

    def do(self, action: Action) -> None:
        """At once; or when it runs again, if it is frozen; or not at all, if it has ended."""

    def soon(self, action: Action) -> None:
        """In the next turn of its event loop."""

    def alarm(self, ring: Action) -> Alarm: ...

    def expects(self, peer: PeerId, certificate: bytes) -> bool: ...

    def dropped(self, reason: DropReason) -> None: ...

    def link_up(self, peer: PeerId) -> None: ...

    def link_down(self, peer: PeerId) -> None: ...

    def greeting(self, peer: PeerId) -> bytes | None:
        """What a peer is told that has just connected."""

    def take_packet(self, packet: bytes) -> None: ...

    def take_gossip(self, source: PeerId, data: bytes) -> None: ...


class Switchboard(Protocol):
    """The network between the daemons."""

    def connect(self, address: str, dialled: Dialled) -> None:
        """Have it accepted at that address, and told what came of it."""

    def tell(self, source: End, target: End, action: Action) -> None:
        """Have the target do that when what the source has just done is seen there."""


@dataclass(eq=False)
class Link:
    """An open connection, on which `source` sends to `target`."""

    source: End
    target: End
    silent_since: float | None = None
    """When the ends have begun to hear nothing of each other."""
    closed_by: End | None = None
    was_up: bool = False
    waiting: list[tuple[bytes, Take]] = field(default_factory=list)
    """Cells that the kernel sends again and again while nothing gets through."""

    def wait(self, cell: tuple[bytes, Take]) -> None:
        if len(self.waiting) < KERNEL_CELLS:
            self.waiting.append(cell)

    def close(self, end: End, switchboard: Switchboard) -> None:
        """Hang up at this end; the other one hears of it."""
        if self.closed_by is None:
            self.closed_by = end
            other = self.target if end is self.source else self.source
            end.do(lambda: end.links.closed(self))
            switchboard.tell(end, other, lambda: other.links.closed(self))


@dataclass(eq=False)
class _Dial:
    peer: PeerId
    addresses: tuple[str, ...]
    backoff: Backoff
    alarm: Alarm
    turn: int = 0
    address: str = ""
    """What is dialled or connected to; empty while neither."""
    attempt: Dialled | None = None
    woken: bool = False
    not_before: float = 0.0


@dataclass(eq=False)
class Dialled:
    """One attempt of `source` to reach a peer."""

    source: End
    peer: PeerId
    link: Link | None = None
    given_up: bool = False

    @property
    def was_up(self) -> bool:
        return self.link is not None and self.link.was_up

    def over(self) -> None:
        """There is no connection, or none any more."""
        self.source.links.over(self)

    def opened(self, link: Link) -> None:
        """The other end has taken it."""
        self.source.links.opened(self, link)


class SimLinks:
    def __init__(self, me: End, switchboard: Switchboard, config: LinkConfig, rng: random.Random) -> None:
        self._me = me
        self._switchboard = switchboard
        self._config = config
        self._rng = rng
        self._dials: dict[PeerId, _Dial] = {}
        self._up: dict[PeerId, Link] = {}
        self._inbound: dict[PeerId, Link] = {}
        self._running = True

    # -- who is a neighbour ---------------------------------------------------

    @property
    def neighbours(self) -> Collection[PeerId]:
        """Those to whom our link is up."""
        return self._up.keys()

    @property
    def inbound(self) -> Collection[PeerId]:
        """Those who are connected to us."""
        return self._inbound.keys()

    def set_addresses(self, peer: PeerId, addresses: tuple[str, ...]) -> None:
        dial = self._dials.get(peer)
        if dial is None:
            config = self._config
            backoff = Backoff(config.backoff_min_seconds, config.backoff_max_seconds, self._rng)
            self._dials[peer] = new = _Dial(peer, addresses, backoff, self._me.alarm(lambda: self._dial(new)))
            new.alarm.set(self._me.now)
            return
        dial.addresses = addresses
        if dial.attempt is not None and dial.address not in addresses:
            was_up = dial.attempt.was_up
            self._abandon(dial)
            self._again(dial, was_up=was_up)

    def forget(self, peer: PeerId) -> None:
        dial = self._dials.pop(peer, None)
        if dial is not None:
            dial.alarm.set(None)
            self._abandon(dial)
        inbound = self._inbound.get(peer)
        if inbound is not None:
            inbound.close(self._me, self._switchboard)

    def reconsider(self) -> None:
        for peer, link in list(self._inbound.items()):
            if not self._me.expects(peer, link.source.certificate):
                self._me.dropped(DropReason.REVOKED_PEER)
                link.close(self._me, self._switchboard)

    def close(self) -> None:
        """The daemon ends, or was killed: its kernel closes what was open."""
        self._running = False
        for dial in list(self._dials.values()):
            dial.alarm.set(None)
            self._abandon(dial)
        for link in list(self._inbound.values()):
            link.close(self._me, self._switchboard)

    # -- cells ----------------------------------------------------------------

    def to(self, peer: PeerId) -> Link | DropReason:
        """The link for what goes to a neighbour."""
        link = self._up.get(peer)
        if link is not None and link.closed_by is not self._me:
            return link
        return DropReason.LINK_DOWN if peer in self._dials else DropReason.UNKNOWN_PEER

    # -- dialling -------------------------------------------------------------

    def _dial(self, dial: _Dial) -> None:
        if not self._running or dial.attempt is not None or self._dials.get(dial.peer) is not dial:
            return
        dial.woken = False
        dial.address = dial.addresses[dial.turn % len(dial.addresses)]
        dial.attempt = Dialled(self._me, dial.peer)
        self._switchboard.connect(dial.address, dial.attempt)

    def opened(self, attempt: Dialled, link: Link) -> None:
        if attempt.given_up or link.closed_by is not None:
            attempt.link = link
            link.close(self._me, self._switchboard)
            self.over(attempt)
            return
        attempt.link = link
        link.was_up = True
        self._up[attempt.peer] = link
        self._me.link_up(attempt.peer)

    def over(self, attempt: Dialled) -> None:
        dial = self._dials.get(attempt.peer)
        if dial is not None and dial.attempt is attempt:
            dial.attempt = None
            self._again(dial, was_up=attempt.was_up)

    def closed(self, link: Link) -> None:
        """A connection of ours has gone."""
        if link.source is self._me:
            self._me.soon(lambda: self._lost(link))
        else:
            peer = link.source.peer_id
            if self._inbound.get(peer) is link:
                del self._inbound[peer]

    def _lost(self, link: Link) -> None:
        peer = link.target.peer_id
        if self._up.get(peer) is link:
            del self._up[peer]
            self._me.link_down(peer)
        dial = self._dials.get(peer)
        if dial is not None and dial.attempt is not None and dial.attempt.link is link:
            self.over(dial.attempt)

    def _abandon(self, dial: _Dial) -> None:
        attempt, dial.attempt, dial.address = dial.attempt, None, ""
        if attempt is not None:
            attempt.given_up = True
            if attempt.link is not None:
                attempt.link.close(self._me, self._switchboard)

    def _again(self, dial: _Dial, *, was_up: bool) -> None:
        if was_up:
            dial.backoff.reset()
        else:
            dial.turn += 1
        dial.address = ""
        wait = dial.backoff.wait()
        shortest = min(wait, self._config.backoff_min_seconds)
        dial.not_before = self._me.now + shortest
        dial.alarm.set(self._me.now + (shortest if dial.woken else wait))

    # -- accepting ------------------------------------------------------------

    def accept(self, source: End) -> Link | None:
        """A connection to us, if we want it. A second one of the same peer replaces the first."""
        if not self._running or not self._me.expects(source.peer_id, source.certificate):
            self._me.dropped(DropReason.REVOKED_PEER)
            return None
        link = Link(source, self._me)
        earlier = self._inbound.get(source.peer_id)
        self._inbound[source.peer_id] = link
        dial = self._dials.get(source.peer_id)
        if dial is not None:
            dial.woken = True
            if dial.attempt is None:
                dial.alarm.set(dial.not_before)
        if earlier is not None:
            earlier.close(self._me, self._switchboard)
        return link
