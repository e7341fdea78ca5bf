"""Configuration and log: the servicers of what an operator may look at and change of the daemon itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio
import msgspec

from peerd.commands import Commands
from peerd.control.guard import is_remote
from peerd.errors import InvalidInputError
from peerd.observe import LEVELS, LogRing
from peerd.pb import config_pb2, config_pb2_grpc, logs_pb2, logs_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
GIVEN = "the given file"


class ConfigServicer(config_pb2_grpc.ConfigServicer):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def Get(  # noqa: N802
        self, request: config_pb2.GetConfigRequest, context: Context
    ) -> config_pb2.ConfigStatus:
        return config_pb2.ConfigStatus(**msgspec.to_builtins(self._commands.configuration.status()))

    async def Compare(  # noqa: N802
        self, request: config_pb2.CompareConfigRequest, context: Context
    ) -> config_pb2.ConfigChange:
        configuration = self._commands.configuration
        if request.given:
            return _change(configuration.compare_with(request.values, request.name or GIVEN))
        return _change(await configuration.compare())

    async def Set(  # noqa: N802
        self, request: config_pb2.SetConfigRequest, context: Context
    ) -> config_pb2.ConfigChange:
        change = self._commands.configuration.change
        return _change(await change(request.values, request.persist, remote=is_remote(context)))

    async def Reload(  # noqa: N802
        self, request: config_pb2.ReloadConfigRequest, context: Context
    ) -> config_pb2.ConfigChange:
        return _change(await self._commands.configuration.reload())


class LogsServicer(logs_pb2_grpc.LogsServicer):
    def __init__(self, ring: LogRing) -> None:
        self._ring = ring

    async def Watch(  # noqa: N802
        self, request: logs_pb2.WatchLogsRequest, context: Context
    ) -> AsyncIterator[logs_pb2.LogBatch]:
        level = request.level or "debug"
        if level not in LEVELS:
            raise InvalidInputError(f"level {level!r}; allowed: {', '.join(LEVELS)}")
        async for batch in self._ring.watch(request.last, level, follow=request.follow):
            yield logs_pb2.LogBatch(**msgspec.to_builtins(batch))


def _change(change: msgspec.Struct) -> config_pb2.ConfigChange:
    return config_pb2.ConfigChange(**msgspec.to_builtins(change))
