"""gRPC's standard health service: the daemon and each of its services, all in the same state.

grpcio-health-checking's own lacks `List`, and holds a lock while it writes to a watcher: one who does not
read kept the daemon from saying that it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from peerd.errors import NotFoundError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # its module has no types
    """NOT_SERVING until it is told otherwise."""

    def __init__(self, services: Sequence[str]) -> None:
        """`services` by their full names; the daemon as a whole has the empty one."""
        self._services = ("", *services)
        self._status = Answer.NOT_SERVING
        self._changed = asyncio.Event()

    def set(self, *, serving: bool) -> None:
        self._status = Answer.SERVING if serving else Answer.NOT_SERVING
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            raise NotFoundError(f"no such service; there are: {', '.join(self._services[1:])}")
        return Answer(status=self._status)

    async def List(  # noqa: N802
        self, request: health_pb2.HealthListRequest, context: Context
    ) -> health_pb2.HealthListResponse:
        status = Answer(status=self._status)
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, status))

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """At once and at each change, of an unknown service, too: the protocol asks for it."""
        known = request.service in self._services
        while True:
            changed = self._changed
            yield Answer(status=self._status if known else Answer.SERVICE_UNKNOWN)
            await changed.wait()
