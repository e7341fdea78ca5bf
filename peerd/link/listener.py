"""Accepting links: a bounded number of TLS handshakes at a time, each under a deadline.

We accept by hand, because a server of asyncio tells nobody of a handshake that failed: here it is
seen and counted, and strangers who connect and say nothing take no more than `MAX_HANDSHAKES` places.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

from peerd.errors import ConflictError, InvalidInputError
from peerd.link.connection import Inbound, OnRefuse
from peerd.types import DropReason

MAX_HANDSHAKES = 128
"""Further connections are closed at once."""
BACKLOG = 256
ACCEPT_RETRY_SECONDS = 0.2
"""After a failed accept (out of file descriptors): a pause, so that it does not spin."""


class Listener:
    def __init__(
        self,
        *,
        tls: ssl.SSLContext,
        handshake_seconds: float,
        make: Callable[[], Inbound],
        on_refuse: OnRefuse,
    ) -> None:
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._make = make
        self._on_refuse = on_refuse
        self._handshakes = 0
        self._socket: socket.socket | None = None

    def bind(self, host: str, port: int) -> tuple[str, int]:
        """Bind and listen, without accepting yet: the address that it got.

        ConflictError for a port in use, InvalidInputError for an address that is not this host's.
        """
        where = f"[link] listen: {host}:{port}"
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError):
            raise InvalidInputError(f"{where}: no such host") from None
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setblocking(False)
            listening.bind(address)
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRINUSE:
                raise ConflictError(
                    f"{where} cannot be bound: another program uses it; stop that or choose another port"
                ) from None
            raise InvalidInputError(f"{where} cannot be bound: {error.strerror}") from None
        self._socket = listening
        bound = listening.getsockname()
        return bound[0], bound[1]

    async def serve(self) -> None:
        """Accept until cancelled; handshakes that are under way end then too."""
        listening = self._socket
        if listening is None:
            raise RuntimeError("bind first")
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    accepted, _ = await loop.sock_accept(listening)
                except OSError as error:
                    self._on_refuse(DropReason.HANDSHAKE_FAILED, f"cannot accept: {error}")
                    await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                    continue
                if self._handshakes >= MAX_HANDSHAKES:
                    accepted.close()
                    self._on_refuse(DropReason.HANDSHAKE_FAILED, "too many at a time")
                    continue
                self._handshakes += 1
                group.create_task(self._handshake(accepted))

    def set_tls(self, tls: ssl.SSLContext) -> None:
        """For all handshakes from now on."""
        self._tls = tls

    def close(self) -> None:
        """Let the port go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _handshake(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
            )
        except OSError as error:  # also ssl.SSLError, and what a timeout raises
            accepted.close()
            self._on_refuse(DropReason.HANDSHAKE_FAILED, str(error))
        finally:
            self._handshakes -= 1
