"""The four servicers: proto in, a command, proto out. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio
import msgspec

from peerd.commands import Commands
from peerd.control.watching import Watching
from peerd.membership import run_spec_of
from peerd.pb import (
    mixing_pb2,
    mixing_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peers_pb2,
    peers_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)

PART_FLOATS = (1 << 20) // 4
"""Of a model in one message."""
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def _fields(snapshot: msgspec.Struct) -> dict[str, Any]:
    """A snapshot as keyword arguments of the message whose fields have the same names."""
    fields = msgspec.to_builtins(snapshot)
    if not isinstance(fields, dict):
        raise TypeError("a snapshot is a struct with named fields")
    return fields


class NodeServicer(node_pb2_grpc.NodeServicer):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._watching = Watching(self._summary)

    async def GetStatus(  # noqa: N802
        self, request: node_pb2.GetStatusRequest, context: Context
    ) -> node_pb2.NodeStatus:
        if request.without_samples:
            return self._summary()
        return node_pb2.NodeStatus(**_fields(self._commands.status()))

    async def WatchStatus(  # noqa: N802
        self, request: node_pb2.WatchStatusRequest, context: Context
    ) -> AsyncIterator[node_pb2.NodeStatus]:
        async for status in self._watching.every(request.interval_seconds):
            yield status

    def _summary(self) -> node_pb2.NodeStatus:
        """Without the single round trips."""
        fields = _fields(self._commands.status())
        del fields["traffic"]["rtt_samples"]
        return node_pb2.NodeStatus(**fields)

    async def Drain(  # noqa: N802
        self, request: node_pb2.DrainRequest, context: Context
    ) -> AsyncIterator[node_pb2.DrainProgress]:
        async for progress in self._commands.drain(request.timeout_seconds, stay=request.stay):
            yield node_pb2.DrainProgress(**_fields(progress))

    async def WatchEvents(  # noqa: N802
        self, request: node_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[node_pb2.Event]:
        async for event in self._commands.watch_events(request.last, follow=request.follow):
            yield node_pb2.Event(**_fields(event))


class MixingServicer(mixing_pb2_grpc.MixingServicer):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def Get(  # noqa: N802
        self, request: mixing_pb2.GetMixingRequest, context: Context
    ) -> mixing_pb2.MixingConfig:
        return mixing_pb2.MixingConfig(**_fields(self._commands.mixing))

    async def Measure(  # noqa: N802
        self, request: mixing_pb2.MeasureMixingRequest, context: Context
    ) -> mixing_pb2.MixingMeasured:
        return mixing_pb2.MixingMeasured(**_fields(self._commands.mixing_measured()))

    async def Update(  # noqa: N802
        self, request: mixing_pb2.UpdateMixingRequest, context: Context
    ) -> mixing_pb2.MixingConfig:
        changes = {field.name: value for field, value in request.ListFields()}
        preset = changes.pop("preset", "")
        return mixing_pb2.MixingConfig(**_fields(await self._commands.set_mixing(preset, changes)))


class PeersServicer(peers_pb2_grpc.PeersServicer):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def List(  # noqa: N802
        self, request: peers_pb2.ListPeersRequest, context: Context
    ) -> peers_pb2.ListPeersResponse:
        peers = [peers_pb2.Peer(**_fields(peer)) for peer in self._commands.peers()]
        return peers_pb2.ListPeersResponse(peers=peers)

    async def Publish(  # noqa: N802
        self, request: peers_pb2.PublishRequest, context: Context
    ) -> peers_pb2.PublishResponse:
        return peers_pb2.PublishResponse(accepted=self._commands.publish(request.records))

    async def Invite(  # noqa: N802
        self, request: peers_pb2.InviteRequest, context: Context
    ) -> peers_pb2.InviteResponse:
        token = await self._commands.invite(request.name, request.expires_in_seconds)
        return peers_pb2.InviteResponse(token=token, expires_in_seconds=request.expires_in_seconds)


class RunsServicer(runs_pb2_grpc.RunsServicer):
    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._exporting = asyncio.Lock()
        """Each export holds a whole model in memory."""

    async def Start(  # noqa: N802
        self, request: runs_pb2.StartRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(
            **_fields(await self._commands.start_run(run_spec_of(request.spec), request.notice))
        )

    async def Stop(  # noqa: N802
        self, request: runs_pb2.StopRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(**_fields(await self._commands.stop_run(request.notice)))

    async def Pause(  # noqa: N802
        self, request: runs_pb2.PauseRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(**_fields(self._commands.pause_run()))

    async def Resume(  # noqa: N802
        self, request: runs_pb2.ResumeRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(**_fields(self._commands.resume_run()))

    async def Get(  # noqa: N802
        self, request: runs_pb2.GetRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(**_fields(self._commands.run_status()))

    async def Past(  # noqa: N802
        self, request: runs_pb2.PastRunRequest, context: Context
    ) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(**_fields(await self._commands.past_run(request.run_id)))

    async def Checkpoints(  # noqa: N802
        self, request: runs_pb2.ListCheckpointsRequest, context: Context
    ) -> runs_pb2.ListCheckpointsResponse:
        found = await self._commands.checkpoints(request.run_id)
        checkpoints = [runs_pb2.Checkpoint(**_fields(one)) for one in found]
        return runs_pb2.ListCheckpointsResponse(checkpoints=checkpoints)

    async def Export(  # noqa: N802
        self, request: runs_pb2.ExportRequest, context: Context
    ) -> AsyncIterator[runs_pb2.ExportPart]:
        async with self._exporting:
            found, vector = await self._commands.model(request.run_id, request.round, best=request.best)
            yield runs_pb2.ExportPart(checkpoint=runs_pb2.Checkpoint(**_fields(found)))
            for start in range(0, len(vector), PART_FLOATS):
                part = vector[start : start + PART_FLOATS].astype("<f4", copy=False)
                yield runs_pb2.ExportPart(data=part.tobytes())

    async def Watch(  # noqa: N802
        self, request: runs_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[runs_pb2.RunStatus]:
        async for status in self._commands.watch_run():
            yield runs_pb2.RunStatus(**_fields(status))
