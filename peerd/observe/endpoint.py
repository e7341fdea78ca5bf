"""GET /metrics on asyncio: a small HTTP/1.1 responder, one request a connection, loopback by default.

Everything is bounded: the request's size, the time to send it, the connections at a time.
"""

from __future__ import annotations

import asyncio
import contextlib

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from peerd.config import MetricsConfig, parse_address
from peerd.errors import ConflictError
from peerd.observe.metrics import Metrics

MAX_REQUEST_BYTES = 8 * 1024
REQUEST_SECONDS = 5.0
MAX_CONNECTIONS = 64
INDEX = b"peerd. The metrics are at /metrics.\n"


class MetricsEndpoint:
    def __init__(self, config: MetricsConfig, metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> str:
        """Bind; the address as host:port, or '' when the endpoint is off. ConflictError."""
        if not self._config.listen:
            return ""
        host, port = parse_address(self._config.listen, "[metrics] listen")
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            raise ConflictError(
                f"[metrics] listen: {self._config.listen} cannot be bound: {error.strerror or error}"
            ) from None
        bound = self._server.sockets[0].getsockname()
        return f"{bound[0]}:{bound[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the client went away or was too slow: nothing to tell it
        except asyncio.LimitOverrunError:
            writer.write(_response("431 Request Header Fields Too Large", b""))
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        parts = head.split(b"\r\n", 1)[0].split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", b"")
        method, target = parts[0], parts[1].split(b"?", 1)[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"", "Allow: GET, HEAD\r\n")
        if target == b"/metrics":
            body = generate_latest(self._metrics.registry)
            response = _response("200 OK", body, content_type=CONTENT_TYPE_PLAIN_0_0_4)
        elif target == b"/":
            response = _response("200 OK", INDEX)
        else:
            response = _response("404 Not Found", b"see /metrics\n")
        return response if method == b"GET" else response.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"


def _response(
    status: str, body: bytes, extra: str = "", content_type: str = "text/plain; charset=utf-8"
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{extra}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
