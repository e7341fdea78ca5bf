"""Where newcomers redeem their tokens: TLS 1.3 with this peer's link certificate, one request a connection.

Few at a time, each under a deadline, and not for those who keep failing: strangers cannot cost much here,
and nothing of this is on the way of a packet.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peerd.clock import Clock, monotonic
from peerd.config import EnrolmentConfig, parse_address
from peerd.enrolment import wire
from peerd.enrolment.attempts import Attempts
from peerd.enrolment.redeemer import Admitted, Redeemer, Refused
from peerd.enrolment.tokens import Token
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, PeerdError, UnavailableError
from peerd.reading import read_bounded
from peerd.store import write_secret

FILE = "tokens.json"
MAX_CONNECTIONS = 16
MAX_TOKENS_BYTES = 1 << 20
"""Further ones are closed at once."""
CONNECTION_SECONDS = 15.0
"""From accept to the end of the answer."""
BACKLOG = 64
ACCEPT_RETRY_SECONDS = 0.2


class EnrolmentServer:
    """`bind`, then `serve` until cancelled, then `close`. `invite` makes the tokens."""

    def __init__(
        self,
        *,
        config: EnrolmentConfig,
        state_dir: Path,
        redeemer: Redeemer,
        tls: ssl.SSLContext,
        on_admitted: Callable[[tuple[bytes, ...]], object],
        log: Any,
        clock: Clock = monotonic,
    ) -> None:
        """`on_admitted` is given the records of who was signed in, to be published."""
        self._config = config
        self._path = state_dir / FILE
        self._redeemer = redeemer
        self._tls = tls
        self._on_admitted = on_admitted
        self._log = log
        self._clock = clock
        self._attempts = Attempts()
        self._connections = 0
        self._socket: socket.socket | None = None
        self._saving = asyncio.Lock()
        self.port: int | None = None

    def bind(self) -> None:
        """Bind and listen, if the configuration says so, and take up the tokens of before.

        ConflictError for a port in use, InvalidInputError for an address that is not this host's.
        """
        self._load()
        if self._config.listen:
            self._socket = _listen(self._config.listen)
            self.port = self._socket.getsockname()[1]

    def set_tls(self, tls: ssl.SSLContext) -> None:
        """For connections from now on."""
        self._tls = tls

    async def invite(self, name: str, expires_in: float, advertised: str) -> str:
        """The text of a new token, on disk when this returns. `name`: the only one that it is good for;
        empty: any. `advertised`: this peer's link address, whose host stands in the token where the
        listener is bound to all of them.

        ConflictError without a listener or for a name that is taken; DeniedError for who is no delegate.
        """
        if self.port is None:
            raise ConflictError("this peer takes no newcomers: set [enrolment] listen in its configuration")
        secret, pin = self._redeemer.invite(name, expires_in)
        try:
            await self._save()
        except OSError as error:
            raise UnavailableError(f"{self._path}: cannot be written: {error.strerror}") from None
        self._log.info("join token made", name=name or "any", expires_in_seconds=expires_in)
        return Token(secret, pin, self._address(advertised)).text

    async def serve(self) -> None:
        """Accept until cancelled; open connections end then too."""
        listening = self._socket
        if listening is None:
            return
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    accepted, address = await loop.sock_accept(listening)
                except OSError as error:
                    self._log.warning("enrolment: cannot accept", error=str(error))
                    await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                    continue
                source = str(address[0])
                if self._connections >= MAX_CONNECTIONS or self._attempts.refuses(source, self._clock()):
                    accepted.close()
                    continue
                self._connections += 1
                group.create_task(self._connection(accepted, source))

    def close(self) -> None:
        """Let the port go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self.port = None

    # -- one connection -------------------------------------------------------

    async def _connection(self, accepted: socket.socket, source: str) -> None:
        """Whatever a stranger does, it is a failed attempt and never more."""
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                await self._talk(accepted, source)
        except Exception as error:  # TLS, resets, timeouts: of whatever kind, it ends this connection alone
            self._log.debug("enrolment: connection failed", error=f"{type(error).__name__}: {error}")
            self._attempts.failed(source, self._clock())
        finally:
            accepted.close()
            self._connections -= 1

    async def _talk(self, accepted: socket.socket, source: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=wire.MAX_REQUEST_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, accepted, ssl=self._tls, ssl_handshake_timeout=CONNECTION_SECONDS
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            size = wire.length_of(await reader.readexactly(wire.LENGTH_BYTES))
            if size > wire.MAX_REQUEST_BYTES:
                good, answer = False, wire.encode_error(InvalidInputError("the request is too large"))
            else:
                good, answer = await self._answer(await reader.readexactly(size))
            if not good:  # before it can try again
                self._attempts.failed(source, self._clock())
            writer.write(answer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer(self, data: bytes) -> tuple[bool, bytes]:
        ask = wire.decode_ask(data)
        if ask is None:
            return False, wire.encode_error(InvalidInputError("not an enrolment request of this version"))
        match self._redeemer.redeem(ask):
            case Refused(error=error):
                self._log.info("newcomer refused", why=str(error))
                return False, wire.encode_error(error)
            case Admitted() as admitted:
                try:
                    await self._save()  # before the answer: who has it cannot have it again
                except OSError as error:
                    self._log.error("join tokens not written", error=str(error))
                    return True, wire.encode_error(UnavailableError("this peer's disk is full; try later"))
                self._log.info("newcomer signed in", name=admitted.name, peer=admitted.peer_id.hex())
                self._on_admitted(admitted.records)
                return True, wire.encode_bundle(admitted.bundle)

    # -- tokens on disk -------------------------------------------------------

    def _load(self) -> None:
        try:
            data = read_bounded(self._path, MAX_TOKENS_BYTES, "join tokens")
        except NotFoundError:
            return
        except PeerdError as error:
            self._log.warning("join tokens unreadable: none is good any more", error=str(error))
            return
        if not self._redeemer.tokens.load(data):
            self._log.warning("join tokens broken: none is good any more", file=str(self._path))

    async def _save(self) -> None:
        """One after the other; each writes what is known when its turn comes."""
        async with self._saving:
            await asyncio.to_thread(write_secret, self._path, self._redeemer.tokens.dump())

    def _address(self, advertised: str) -> str:
        host, _ = parse_address(self._config.listen, "[enrolment] listen")
        if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - compared, not bound
            host, _ = parse_address(advertised, "[membership] advertise")
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def _listen(address: str) -> socket.socket:
    where = f"[enrolment] listen: {address}"
    host, port = parse_address(address, "[enrolment] listen")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise InvalidInputError(f"{where}: no such host") from None
    family, kind, protocol, _, target = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(target)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        failure: type[PeerdError] = ConflictError if error.errno == errno.EADDRINUSE else InvalidInputError
        raise failure(f"{where} cannot be bound: {error.strerror}") from None
    return listening
