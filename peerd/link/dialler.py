"""Our outbound connection to one peer: dialled again whenever it is lost, at one of the peer's addresses.

Where a peer listens, it says itself, in a descriptor that it signs. So an address is a stranger's text: a
name is resolved first, each time anew, and what is connected to is an IP that the policy permits, never
the name. One IP is tried at a time; after a failure it is the next address' turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from peerd.config import parse_address
from peerd.link.connection import Common, OnGossip, Outbound
from peerd.link.keepalive import Backoff
from peerd.types import DropReason, PeerId


class Policy(Protocol):
    """What a dialler needs of `membership.DialPolicy`."""

    def permits(self, ip: str) -> bool:
        """Whether this numeric address, without a zone, may be dialled."""


@dataclass(slots=True)
class Dialling:
    """What all diallers share."""

    common: Common
    tls: ssl.SSLContext
    """Of the next handshake."""
    policy: Policy
    on_up: Callable[[Outbound], None]
    on_gossip: OnGossip
    on_over: Callable[[PeerId, Outbound], None]
    """A connection is gone, whether it was up or not."""
    on_forbidden: Callable[[PeerId, str], None]
    """The policy permits nothing of what this address stands for."""
    rng: random.Random
    log: Any


class Dialler:
    """`run` dials and holds the connection until cancelled, and leaves nothing behind then."""

    def __init__(self, peer: PeerId, addresses: tuple[str, ...], shared: Dialling) -> None:
        self._peer = peer
        self._addresses = addresses
        self._shared = shared
        self._turn = 0
        self._address = ""
        """What is dialled or connected to; empty while neither."""
        self._link: Outbound | None = None
        self._attempt: asyncio.Timeout | None = None
        self._woken = asyncio.Event()
        config = shared.common.config
        self._shortest = config.backoff_min_seconds
        self._backoff = Backoff(config.backoff_min_seconds, config.backoff_max_seconds, shared.rng)

    @property
    def state(self) -> Literal["connecting", "down"]:
        """While the link is not up."""
        return "connecting" if self._address else "down"

    def wake(self) -> None:
        """It can be reached now, it seems: no longer wait for the backoff."""
        self._woken.set()

    def move(self, addresses: tuple[str, ...]) -> None:
        """Go on with these, host:port each. A connection to one that is not among them is given up.

        Where nothing was reached before, the backoff stays: otherwise a peer could make all the others
        dial whomever it names, as often as it signs a new descriptor.
        """
        self._addresses = addresses
        if self._address and self._address not in addresses:
            if self._link is not None:
                self._link.abort()
            if self._attempt is not None and not self._attempt.expired():
                self._attempt.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> None:
        while True:
            if await self._connect():
                self._backoff.reset()
            else:
                self._turn += 1
            await self._wait(self._backoff.wait())

    async def _wait(self, seconds: float) -> None:
        """Until the next attempt; sooner when woken."""
        shortest = min(seconds, self._shortest)
        await asyncio.sleep(shortest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - shortest):
                await self._woken.wait()

    async def _connect(self) -> bool:
        """One attempt, and what comes of it, until that is over. Whether the link was up."""
        self._woken.clear()
        if not self._addresses:
            return False
        times, index = divmod(self._turn, len(self._addresses))
        self._address = self._addresses[index]
        try:
            link = await self._dial(self._address, times)
            if link is None:
                return False
            await asyncio.shield(link.closed)
            return link.was_up
        finally:
            self._address = ""
            if self._link is not None:
                link, self._link = self._link, None
                link.abort()  # also where its handshake is still to end
                self._shared.on_over(self._peer, link)

    async def _dial(self, address: str, times: int) -> Outbound | None:
        """A connection whose handshake is over. A peer that is not there is no error, and no news."""
        shared = self._shared
        try:
            async with asyncio.timeout(shared.common.config.connect_timeout_seconds) as self._attempt:
                host, port = parse_address(address)
                ip = await self._permitted_ip(host, port, times)
                if ip is None:
                    shared.on_forbidden(self._peer, address)
                    return None
                _, link = await asyncio.get_running_loop().create_connection(
                    self._make,
                    ip,
                    port,
                    ssl=shared.tls,
                    server_hostname="",  # no name in the clear: the peer id is what is checked
                )
        except ssl.SSLError as error:
            shared.common.on_refuse(DropReason.HANDSHAKE_FAILED, f"dialling {address}: {error}")
        except (OSError, ValueError) as error:  # ValueError, UnicodeError: no valid host name
            shared.log.debug("dial failed", address=address, error=str(error))
        else:
            return link
        finally:
            self._attempt = None
        return None

    def _make(self) -> Outbound:
        self._link = Outbound(self._shared.common, self._peer, self._shared.on_up, self._shared.on_gossip)
        return self._link

    async def _permitted_ip(self, host: str, port: int, times: int) -> str | None:
        """An IP to connect to: where there are several, each time another one."""
        permits = self._shared.policy.permits
        found = [ip for ip in await _resolve(host, port) if permits(ip.partition("%")[0])]
        return found[times % len(found)] if found else None


async def _resolve(host: str, port: int) -> list[str]:
    """Numeric addresses, each once, in the resolver's order. OSError and ValueError, as it likes."""
    try:
        # At once, and canonical: to the resolver "127.1" and "0x7f000001" are IPs too.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))
