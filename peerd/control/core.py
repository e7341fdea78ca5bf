"""gRPC's server, mended: a caller can end it by a path that is no text.

`grpc.aio` (1.85) decodes the path of a method that it does not know in its main loop; what is no UTF-8 raises
there and shuts the server down, with whatever certificate it came. Paths of registered methods are never
decoded, so here unknown ones come in by the door of a registered method, whose name nobody can call.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server

_GROUP, _NAME = "unknown", "x" * (64 << 10)
"""Longer than any header may be (`grpc.max_metadata_size`)."""
UNKNOWN = f"/{_GROUP}/{_NAME}"
"""What an interceptor sees as the method where there is none of that path."""


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Called for each registered method, and with None for all others together."""
        if method is None:
            return asyncio.get_running_loop().create_future()  # gRPC cancels it in the end
        known = None if method == UNKNOWN.encode() else method
        future: asyncio.Future[Any] = super()._make_request_call_future(known)
        return future


class Server(_server.Server):
    """As `grpc.aio.server` makes it. Generic handlers are not asked: generated code registers its methods."""

    def __init__(self, interceptor: grpc.aio.ServerInterceptor, options: tuple[tuple[str, int], ...]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), (interceptor,), options, None)
        nothing: Any = grpc.unary_unary_rpc_method_handler(_nothing)
        self._server.add_registered_method_handlers({UNKNOWN: nothing})


async def _nothing(_request: Any, context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method")
