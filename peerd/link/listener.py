"""Accepting links: plain TCP first, then TLS under a deadline, then the roster.

TLS is started by hand on the accepted connection, because only then is a failed handshake seen and
counted, and the number of handshakes at a time bounded.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Container
from typing import Any, cast

from peerd.errors import ConflictError
from peerd.link.connection import Inbound, OnDrop, peer_behind
from peerd.types import DropReason, PeerId

HANDSHAKE_SECONDS = 5.0
MAX_HANDSHAKES = 128
"""Further connections are closed at once: a flood of strangers costs us no more than this."""


class Listener:
    def __init__(
        self,
        *,
        tls: ssl.SSLContext,
        enrolled: Container[PeerId],
        make: Callable[[], Inbound],
        on_inbound: Callable[[PeerId, Inbound], None],
        on_drop: OnDrop,
        log: Any,
    ) -> None:
        self._tls = tls
        self._enrolled = enrolled
        self._make = make
        self._on_inbound = on_inbound
        self._on_drop = on_drop
        self._log = log
        self._handshakes = 0
        self._group: asyncio.TaskGroup | None = None
        self._server: asyncio.Server | None = None

    async def bind(self, host: str, port: int) -> tuple[str, int]:
        """Bind without serving yet; ConflictError, in one line, where that fails."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Accepted(self), host, port, start_serving=False
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConflictError(
                f"[link] listen: {host}:{port} cannot be bound: {reason}; is the port in use?"
            ) from None
        bound = self._server.sockets[0].getsockname()
        return bound[0], bound[1]

    async def serve(self, group: asyncio.TaskGroup) -> None:
        if self._server is None:
            raise RuntimeError("bind first")
        self._group = group
        await self._server.start_serving()

    def close(self) -> None:
        self._group = None
        if self._server is not None:
            self._server.close()

    def accepted(self, transport: asyncio.Transport) -> None:
        if self._group is None or self._handshakes >= MAX_HANDSHAKES:
            self._on_drop(DropReason.HANDSHAKE_FAILED)
            transport.abort()
            return
        transport.pause_reading()  # nothing may be read before TLS reads it
        self._handshakes += 1
        self._group.create_task(self._handshake(transport))

    async def _handshake(self, transport: asyncio.Transport) -> None:
        inbound = self._make()
        try:
            tls = await asyncio.get_running_loop().start_tls(
                transport,
                inbound,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, ssl.SSLError) as error:
            self._on_drop(DropReason.HANDSHAKE_FAILED)
            self._log.debug("link handshake failed", error=str(error))
            transport.abort()
            return
        finally:
            self._handshakes -= 1
        if tls is None:  # the remote left in the very moment
            self._on_drop(DropReason.HANDSHAKE_FAILED)
            return
        peer = peer_behind(tls)
        if peer is None or peer not in self._enrolled:
            self._on_drop(DropReason.BAD_CERTIFICATE)
            tls.abort()
            return
        inbound.begin(tls)
        self._on_inbound(peer, inbound)


class _Accepted(asyncio.Protocol):
    """An accepted connection until TLS takes it over."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.accepted(cast(asyncio.Transport, transport))
