"""One peer's control API: a channel, typed calls, and gRPC failures turned into one clear line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ctl.contexts import UNIX, Endpoint, Tls
from ctl.text import one_line
from peerd.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    PeerdError,
    UnavailableError,
)
from peerd.pb import (
    config_pb2,
    config_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    mixing_pb2,
    mixing_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peers_pb2,
    peers_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)
from peerd.reading import read_bounded

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.enable_http_proxy", 0),  # a peer is asked directly, whatever the shell's proxies are
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
MAX_PEM_BYTES = 1 << 20
DRAIN_MARGIN = 30.0
"""Seconds beyond a drain's own timeout after which a peer that says nothing is lost."""
PIECE_BYTES = 1 << 20
"""gRPC takes messages of at most 4 MiB."""
_ERRORS: dict[grpc.StatusCode, type[PeerdError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInputError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInputError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
    grpc.StatusCode.UNAUTHENTICATED: DeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BusyError,
}


class Client:
    """`async with Client(endpoint, timeout) as client: await client.status()`.

    Every call raises the errors of `peerd.errors`, each naming the endpoint. `timeout` is in seconds
    and bounds each call, but not `watch_status`, `watch_run`, `export`, `drain`, and `events` and `logs` that
    are followed.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._channel = _channel(endpoint)
        stubs: Any = (
            node_pb2_grpc, mixing_pb2_grpc, peers_pb2_grpc, runs_pb2_grpc, config_pb2_grpc, logs_pb2_grpc,
        )  # fmt: skip
        node, mixing, peers, runs, config, logs = stubs  # the generated modules have no types of their own
        self._node = node.NodeStub(self._channel)
        self._mixing = mixing.MixingStub(self._channel)
        self._peers = peers.PeersStub(self._channel)
        self._runs = runs.RunsStub(self._channel)
        self._config = config.ConfigStub(self._channel)
        self._logs = logs.LogsStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def status(self, samples: bool = False) -> node_pb2.NodeStatus:
        """`samples`: with up to 4,096 single round trips, 32 KiB."""
        request = node_pb2.GetStatusRequest(without_samples=not samples)
        answer: node_pb2.NodeStatus = await self._call(self._node.GetStatus, request)
        return answer

    def watch_status(self, interval: float) -> AsyncIterator[node_pb2.NodeStatus]:
        """At once, then at each multiple of so many seconds on the peer's clock."""
        return self._stream(self._node.WatchStatus, node_pb2.WatchStatusRequest(interval_seconds=interval))

    async def peers(self) -> list[peers_pb2.Peer]:
        answer = await self._call(self._peers.List, peers_pb2.ListPeersRequest())
        return list(answer.peers)

    async def mixing(self) -> mixing_pb2.MixingConfig:
        answer: mixing_pb2.MixingConfig = await self._call(self._mixing.Get, mixing_pb2.GetMixingRequest())
        return answer

    async def mixing_measured(self) -> mixing_pb2.MixingMeasured:
        request = mixing_pb2.MeasureMixingRequest()
        answer: mixing_pb2.MixingMeasured = await self._call(self._mixing.Measure, request)
        return answer

    async def update_mixing(self, request: mixing_pb2.UpdateMixingRequest) -> mixing_pb2.MixingConfig:
        answer: mixing_pb2.MixingConfig = await self._call(self._mixing.Update, request)
        return answer

    async def publish(self, records: list[bytes]) -> int:
        """How many of these signed records are news to the peer. They go in pieces that gRPC takes."""
        accepted = 0
        for piece in _pieces(records):
            answer = await self._call(self._peers.Publish, peers_pb2.PublishRequest(records=piece))
            accepted += answer.accepted
        return accepted

    async def invite(self, name: str, expires_in_seconds: float) -> peers_pb2.InviteResponse:
        """A token with which a newcomer joins by this peer; `name` binds it, empty does not."""
        request = peers_pb2.InviteRequest(name=name, expires_in_seconds=expires_in_seconds)
        answer: peers_pb2.InviteResponse = await self._call(self._peers.Invite, request)
        return answer

    def drain(self, timeout: float, stay: bool) -> AsyncIterator[node_pb2.DrainProgress]:
        """How the peer takes its leave, step by step; the last says `drained`, or `timeout` after so many
        seconds."""
        request = node_pb2.DrainRequest(timeout_seconds=timeout, stay=stay)
        return self._stream(self._node.Drain, request, timeout + DRAIN_MARGIN)

    def events(self, follow: bool, last: int) -> AsyncIterator[node_pb2.Event]:
        """The latest so many, oldest first, 0 for all that are remembered; then, to follow, what comes."""
        request = node_pb2.WatchEventsRequest(follow=follow, last=last)
        return self._stream(self._node.WatchEvents, request, None if follow else self._timeout)

    async def config(self) -> config_pb2.ConfigStatus:
        answer: config_pb2.ConfigStatus = await self._call(self._config.Get, config_pb2.GetConfigRequest())
        return answer

    async def compare_config(
        self, values: Mapping[str, Any] | None = None, name: str = ""
    ) -> config_pb2.ConfigChange:
        """In force beside a file of that name that sets these; None: beside the daemon's own file."""
        request = config_pb2.CompareConfigRequest(
            given=values is not None, values=_encoded(values or {}), name=name
        )
        return await self._change(self._config.Compare, request)

    async def set_config(self, values: Mapping[str, Any], persist: bool) -> config_pb2.ConfigChange:
        """Plain values by key."""
        request = config_pb2.SetConfigRequest(values=_encoded(values), persist=persist)
        return await self._change(self._config.Set, request)

    async def reload_config(self) -> config_pb2.ConfigChange:
        return await self._change(self._config.Reload, config_pb2.ReloadConfigRequest())

    async def _change(self, method: Any, request: Any) -> config_pb2.ConfigChange:
        answer: config_pb2.ConfigChange = await self._call(method, request)
        return answer

    def logs(self, follow: bool, last: int, level: str) -> AsyncIterator[logs_pb2.LogBatch]:
        """The latest so many lines of at least that level, 0 for all that are remembered; then, to follow,
        what comes."""
        request = logs_pb2.WatchLogsRequest(follow=follow, last=last, level=level)
        return self._stream(self._logs.Watch, request, None if follow else self._timeout)

    async def start_run(self, spec: runs_pb2.RunSpec, notice: bytes = b"") -> runs_pb2.RunStatus:
        """`notice`: an operator's encoded SignedRun, by which the peer tells all others."""
        return await self._run(self._runs.Start, runs_pb2.StartRunRequest(spec=spec, notice=notice))

    async def stop_run(self, notice: bytes = b"") -> runs_pb2.RunStatus:
        return await self._run(self._runs.Stop, runs_pb2.StopRunRequest(notice=notice))

    async def pause_run(self) -> runs_pb2.RunStatus:
        return await self._run(self._runs.Pause, runs_pb2.PauseRunRequest())

    async def resume_run(self) -> runs_pb2.RunStatus:
        return await self._run(self._runs.Resume, runs_pb2.ResumeRunRequest())

    async def run(self) -> runs_pb2.RunStatus:
        return await self._run(self._runs.Get, runs_pb2.GetRunRequest())

    async def past_run(self, run_id: str) -> runs_pb2.RunStatus:
        """A run that the peer took part in, by its id or the first digits of it."""
        return await self._run(self._runs.Past, runs_pb2.PastRunRequest(run_id=run_id))

    async def checkpoints(self, run_id: str = "") -> list[runs_pb2.Checkpoint]:
        """Of the runs whose id begins so; the last run last, its rounds in order."""
        request = runs_pb2.ListCheckpointsRequest(run_id=run_id)
        answer = await self._call(self._runs.Checkpoints, request)
        return list(answer.checkpoints)

    def export(self, run_id: str, round_number: int, best: bool) -> AsyncIterator[runs_pb2.ExportPart]:
        """What the model is, then the model. The caller bounds the time."""
        request = runs_pb2.ExportRequest(run_id=run_id, round=round_number, best=best)
        return self._stream(self._runs.Export, request)

    def watch_run(self) -> AsyncIterator[runs_pb2.RunStatus]:
        """The run's status at every change, until the run has ended."""
        return self._stream(self._runs.Watch, runs_pb2.WatchRunRequest())

    async def serving(self) -> bool:
        """What the health service says of the daemon as a whole; False while nobody answers."""
        request = health_pb2.HealthCheckRequest(service="")
        try:
            answer = await self._health.Check(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            if _ERRORS.get(error.code()) is UnavailableError:
                return False
            raise translate(error, self.endpoint) from None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def wait_serving(self) -> None:
        """Return when the health service says SERVING; the caller bounds the time."""
        request = health_pb2.HealthCheckRequest(service="")
        while True:
            try:
                answer = await self._health.Check(request, timeout=1.0, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.aio.AioRpcError as error:
                if _ERRORS.get(error.code()) is not UnavailableError:
                    raise translate(error, self.endpoint) from None
            await asyncio.sleep(0.05)

    async def _run(self, method: Any, request: Any) -> runs_pb2.RunStatus:
        answer: runs_pb2.RunStatus = await self._call(method, request)
        return answer

    async def _stream(self, method: Any, request: Any, patience: float | None = None) -> AsyncIterator[Any]:
        call = method(request, timeout=patience)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise translate(error, self.endpoint) from None
        finally:
            call.cancel()

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            raise translate(error, self.endpoint) from None


def _encoded(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: json.dumps(value) for key, value in values.items()}


def _pieces(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """In order, at least one record each, and small enough for one message."""
    piece: list[bytes] = []
    size = 0
    for record in records:
        if piece and size + len(record) > PIECE_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(record)
        size += len(record)
    if piece:
        yield piece


def _channel(endpoint: Endpoint) -> grpc.aio.Channel:
    if endpoint.tls is None:
        return grpc.aio.insecure_channel(endpoint.address, OPTIONS)
    tls = endpoint.tls
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca, endpoint),
        private_key=_pem(tls.key, endpoint),
        certificate_chain=_pem(tls.cert, endpoint),
    )
    name = ("grpc.ssl_target_name_override", tls.server_name)
    return grpc.aio.secure_channel(endpoint.address, credentials, [*OPTIONS, name])


def _pem(path: Path, endpoint: Endpoint) -> bytes:
    try:
        data = read_bounded(path, MAX_PEM_BYTES, "a PEM file")
    except PeerdError as error:
        raise type(error)(f"{endpoint.name}: {error}") from None
    if b"-----BEGIN" not in data:
        raise InvalidInputError(f"{endpoint.name}: {path}: not a PEM file")
    return data


def translate(error: grpc.aio.AioRpcError, endpoint: Endpoint) -> PeerdError:
    """A gRPC failure as one of `peerd.errors`, in one line that names the endpoint."""
    code, details = error.code(), one_line(error.details() or "")
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(endpoint, details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = f"no answer in time from {endpoint.address}"
    elif code is grpc.StatusCode.CANCELLED:
        details = "the connection ended before the answer came"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        details = "the daemon does not know this command; it is of another version"
    elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _exhausted(endpoint, details)
    kind = _ERRORS.get(code, PeerdError)
    return kind(f"{endpoint.name}: {details or code.name.lower()}")


def _exhausted(endpoint: Endpoint, details: str) -> PeerdError:
    """The peer's own words say what to do; gRPC's, of either side, do not."""
    if "larger than max" in details:
        return InvalidInputError(f"{endpoint.name}: a message was too large: {details}")
    if "too many pending requests" in details.lower() or not details:
        details = "it is asked too much at the moment; ask again later, or at its Unix socket"
    return BusyError(f"{endpoint.name}: {details}")


def _unreachable(endpoint: Endpoint, details: str) -> PeerdError:
    """gRPC packs refused connections, missing sockets and failed handshakes into one status."""
    name, address, low = endpoint.name, endpoint.address, details.lower()
    if "permission denied" in low:
        return DeniedError(f"{name}: no permission to use {address.removeprefix(UNIX)}")
    if endpoint.tls is not None and ("handshake failed" in low or "verification check" in low):
        return DeniedError(f"{name}: {_handshake(endpoint.tls, address)}")
    if endpoint.tls is not None and "socket closed" in low:
        return UnavailableError(
            f"{name}: {address} closed the connection; does it accept {endpoint.tls.cert}?"
        )
    return UnavailableError(f"{name}: no daemon answers at {address}; is `peerd run` up there?")


def _handshake(tls: Tls, address: str) -> str:
    return (
        f"no TLS with {address}: it must have peer {tls.peer}'s certificate of the CA {tls.ca}, "
        f"and accept {tls.cert}"
    )
