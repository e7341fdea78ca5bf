"""The metrics listener on asyncio: /metrics and the status page; one request a connection.

Loopback by default. Everything is bounded: the size of a request, the time a connection may take, their
number, and how often the state is looked up for the page. Nothing of a request is echoed or logged.
"""

from __future__ import annotations

import asyncio
import socket

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from peerd.config import MetricsConfig, parse_address
from peerd.errors import ConflictError, InvalidInputError
from peerd.observe.http import TOO_LARGE, Request, Response, parse
from peerd.observe.metrics import Metrics
from peerd.observe.pages import Pages, PageSource
from peerd.web import is_loopback, name_of, names_no_domain

MAX_REQUEST_BYTES = 8 * 1024
CONNECTION_SECONDS = 5.0
MAX_CONNECTIONS = 64
INDEX = b"peerd. The metrics are at /metrics.\n"
STRANGE_HOST = Response(
    "421 Misdirected Request",
    b"This name is not known here: use an IP address or localhost, or add it to [metrics] page_hosts.\n",
)


class MetricsEndpoint:
    """`start` binds, `close` ends every connection. A scrape runs on the event loop, in about 2 ms."""

    def __init__(self, config: MetricsConfig, metrics: Metrics, source: PageSource | None = None) -> None:
        """`source`: of the status page; without one, or with `page` off, there is none."""
        self._config = config
        self._metrics = metrics
        self._pages = Pages(source, config.detail) if config.page and source is not None else None
        self._known: frozenset[str] = frozenset()
        self._loopback = False
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._open)

    async def start(self) -> str:
        """Bind; the bound address as host:port, or '' when the endpoint is off.

        Raises ConflictError where the address is taken, InvalidInputError where it is none.
        """
        if not self._config.listen:
            return ""
        where = "[metrics] listen"
        host, port = parse_address(self._config.listen, where)
        self._known = frozenset(name.lower() for name in (host, *self._config.page_hosts))
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST_BYTES)
        except socket.gaierror as error:
            raise InvalidInputError(f"{where}: no such host {host!r}: {error.strerror}") from None
        except OSError as error:
            reason = error.strerror or error
            raise ConflictError(
                f"{where}: {self._config.listen} cannot be bound ({reason}); choose another port"
            ) from None
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        self._loopback = is_loopback(bound_host)
        return f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open[task] = writer
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                writer.write(await self._answer(reader))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the client went away or is too slow: nobody to tell
        finally:
            writer.transport.abort()
            del self._open[task]

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return TOO_LARGE.encode(head=False)
        request = parse(head)
        if isinstance(request, Response):
            return request.encode(head=False)
        return self._respond(request).encode(head=request.method == "HEAD")

    def _respond(self, request: Request) -> Response:
        """Prometheus names a host as its operator does; only where nobody but this host asks is that checked
        for /metrics, too."""
        scrape = request.path == "/metrics"
        if not (scrape and not self._loopback) and not self._knows(request.host):
            return STRANGE_HOST
        try:
            if scrape:
                body = generate_latest(self._metrics.registry)
                return Response("200 OK", body, CONTENT_TYPE_PLAIN_0_0_4)
            found = None if self._pages is None else self._pages.get(request.path)
        except Exception as error:
            context = {"message": "a scrape failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return Response("500 Internal Server Error", b"see the log of peerd\n")
        if found is None and request.path == "/":
            return Response("200 OK", INDEX)
        return found or Response("404 Not Found", b"see /metrics\n")

    def _knows(self, host: str) -> bool:
        """HTTP/1.0 need not name one, and no browser leaves it out."""
        name = name_of(host)
        return not host or names_no_domain(name) or name in self._known
