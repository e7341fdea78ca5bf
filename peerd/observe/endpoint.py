"""GET /metrics on asyncio: a small HTTP/1.1 responder, one request a connection, loopback by default.

Everything is bounded: the size of a request, the time a connection may take, and their number.
Nothing of a request is echoed or logged.
"""

from __future__ import annotations

import asyncio
import socket

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from peerd.config import MetricsConfig, parse_address
from peerd.errors import ConflictError, InvalidInputError
from peerd.observe.metrics import Metrics

MAX_REQUEST_BYTES = 8 * 1024
CONNECTION_SECONDS = 5.0
MAX_CONNECTIONS = 64
PLAIN = "text/plain; charset=utf-8"
INDEX = b"peerd. The metrics are at /metrics.\n"


class MetricsEndpoint:
    """`start` binds, `close` ends every connection. A scrape runs on the event loop, in about 1 ms."""

    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
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
            return _response("431 Request Header Fields Too Large", b"request too large\n")
        match head.split(b"\r\n", 1)[0].split(b" "):
            case [method, target, (b"HTTP/1.0" | b"HTTP/1.1")] if method and target:
                pass
            case _:
                return _response("400 Bad Request", b"not HTTP/1.1\n")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"GET or HEAD\n", allow="GET, HEAD")
        response = self._page(target.split(b"?", 1)[0])
        return response if method == b"GET" else response[: response.index(b"\r\n\r\n") + 4]

    def _page(self, path: bytes) -> bytes:
        if path == b"/metrics":
            try:
                body = generate_latest(self._metrics.registry)
            except Exception as error:
                context = {"message": "a scrape failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
                return _response("500 Internal Server Error", b"see the log of peerd\n")
            return _response("200 OK", body, content_type=CONTENT_TYPE_PLAIN_0_0_4)
        if path == b"/":
            return _response("200 OK", INDEX)
        return _response("404 Not Found", b"see /metrics\n")


def _response(status: str, body: bytes, *, content_type: str = PLAIN, allow: str = "") -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if allow:
        lines.append(f"Allow: {allow}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
