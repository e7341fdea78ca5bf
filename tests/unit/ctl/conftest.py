"""Small peers that speak the real control API over real sockets, in threads of the test."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ctl.cli import cli
from ctl.contexts import Contexts, Endpoint
from ctl.testbed import Plan
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

GIB = 1 << 30


def node_status(name: str, **fields: Any) -> node_pb2.NodeStatus:
    status = node_pb2.NodeStatus(
        name=name,
        peer_id="ab" * 16,
        version="1.2.3",
        network="lab",
        uptime_seconds=83.0,
        peers_enrolled=5,
        peers_alive=4,
        strategy="exponential",
        hops=3,
        run_id="0123456789abcdef" * 2,
        run_state="running",
        round=2,
        stage="training",
        trainer=node_pb2.TrainerStatus(state="busy", cpu_seconds=3.5, rss_bytes=GIB),
        traffic=node_pb2.TrafficStatus(
            packets={"own": 10, "ack": 20, "loop": 3, "drop": 4, "forwarded": 5 * GIB},
            dropped={"replay": 2},
            resent=1,
            bytes_sent=6 * GIB,
            rtt_p50_seconds=0.4,
            rtt_samples=[0.1, 0.4, 0.9],
        ),
        cpu_seconds=1.5,
        rss_bytes=90 << 20,
    )
    for key, value in fields.items():
        setattr(status, key, value)
    return status


class FakePeer:
    """State that the servicers answer with; a test sets it, and reads what was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.healthy = health.HealthServicer()
        self.healthy.set("", health_pb2.HealthCheckResponse.SERVING)
        self.status = node_status(name)
        self.mixing = mixing_pb2.MixingConfig(strategy="exponential", hops=3)
        self.measured = mixing_pb2.MixingMeasured(
            entropy_bits=3.14159,
            mixed=1234,
            mean_entropy_bits=2.71828,
            end_to_end=[mixing_pb2.EndToEnd(hops=n, bits=0.5 * n, of_bits=2.5) for n in (1, 2, 3)],
            send_rate_per_second=20.0,
            loop_rate_per_second=0.5,
            cover_forgone=7,
            loops=mixing_pb2.LoopsMeasured(sent=40, returned=30, lost=6),
            epoch=mixing_pb2.EpochStatus(
                epoch=17, ends_in_seconds=83.0, accepted=[18, 17], replay_tags=1500, replay_bytes=1 << 20,
                replay_false_positive_rate=1e-6, replay_expected_false_positives=0.00375,
            ),
        )  # fmt: skip
        self.peers = [peers_pb2.Peer(name="zoe", state="alive", since_seconds=3.0, outbound="up")]
        self.refuse: tuple[grpc.StatusCode, str] | None = None
        self.refused: set[str] | None = None
        """The calls that `refuse` is for; None: all."""
        self.hold: threading.Event | None = None
        """A call is answered when it is set."""
        self.updates: list[mixing_pb2.UpdateMixingRequest] = []
        self.started: list[runs_pb2.RunSpec] = []
        self.notices: list[bytes] = []
        """Of runs started and stopped; empty where there was none."""
        self.run = runs_pb2.RunStatus(spec=runs_pb2.RunSpec(rounds=5), stage="training", round=1, cohort=6)
        """What `Get` answers; the state is `running` unless a test has set another."""
        self.published: list[list[bytes]] = []
        self.drain: list[node_pb2.DrainProgress] = []
        self.drained: list[node_pb2.DrainRequest] = []
        self.events: list[node_pb2.Event] = []
        self.coming: list[node_pb2.Event] = []
        """After those, for who follows; then the stream stays open until `over`, or breaks without it."""
        self.over: threading.Event | None = None
        self.silent_after: int | None = None
        """Of a stream of its status: so many are told."""
        self.told = threading.Event()
        """Breaks the streams of its status."""
        self.called: list[str] = []
        self.watch: list[runs_pb2.RunStatus] = []
        self.checkpoints: list[runs_pb2.Checkpoint] = []
        self.past: dict[str, runs_pb2.RunStatus] = {}
        self.parts: list[runs_pb2.ExportPart] = []
        self.exported: list[runs_pb2.ExportRequest] = []
        self.config = config_pb2.ConfigStatus()
        self.change = config_pb2.ConfigChange()
        """What every change answers, and a comparison."""
        self.asked: list[Any] = []
        """Requests of a change or comparison."""
        self.logged: list[logs_pb2.LogBatch] = []
        self.logs_coming: list[logs_pb2.LogBatch] = []
        """After those, for who follows; then the stream breaks."""


class _Servicer(
    node_pb2_grpc.NodeServicer,
    mixing_pb2_grpc.MixingServicer,
    peers_pb2_grpc.PeersServicer,
    runs_pb2_grpc.RunsServicer,
    config_pb2_grpc.ConfigServicer,
    logs_pb2_grpc.LogsServicer,
):
    """All nouns; calls of one name, such as `Get`, are told apart by the request."""

    def __init__(self, peer: FakePeer) -> None:
        self._peer = peer

    def _check(self, name: str, context: grpc.ServicerContext) -> None:
        self._peer.called.append(name)
        if self._peer.hold is not None:
            self._peer.hold.wait(10)
        refused = self._peer.refused
        if self._peer.refuse is not None and (refused is None or name in refused):
            context.abort(*self._peer.refuse)

    def GetStatus(self, request: Any, context: grpc.ServicerContext) -> node_pb2.NodeStatus:
        self._check("GetStatus", context)
        return self._peer.status

    def WatchStatus(self, request: Any, context: grpc.ServicerContext) -> Iterator[node_pb2.NodeStatus]:
        self._check("WatchStatus", context)
        count = 0
        while context.is_active():
            if count != self._peer.silent_after:
                count += 1
                yield self._peer.status
            self._peer.told.wait(request.interval_seconds)
            if self._peer.told.is_set():
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def List(self, request: Any, context: grpc.ServicerContext) -> peers_pb2.ListPeersResponse:
        self._check("List", context)
        return peers_pb2.ListPeersResponse(peers=self._peer.peers)

    def Get(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check("Get", context)
        if isinstance(request, mixing_pb2.GetMixingRequest):
            return self._peer.mixing
        if isinstance(request, config_pb2.GetConfigRequest):
            return self._peer.config
        return self._run(self._peer.run.state or "running")

    def Measure(self, request: Any, context: grpc.ServicerContext) -> mixing_pb2.MixingMeasured:
        self._check("Measure", context)
        return self._peer.measured

    def Update(self, request: Any, context: grpc.ServicerContext) -> mixing_pb2.MixingConfig:
        self._check("Update", context)
        self._peer.updates.append(request)
        for field, value in request.ListFields():
            if field.name == "preset":
                continue
            setattr(self._peer.mixing, field.name, value)
        return self._peer.mixing

    def Start(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.RunStatus:
        self._check("Start", context)
        self._peer.started.append(request.spec)
        self._peer.notices.append(request.notice)
        return self._run("starting")

    def Stop(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.RunStatus:
        self._check("Stop", context)
        self._peer.notices.append(request.notice)
        return self._run("stopped")

    def Pause(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.RunStatus:
        self._check("Pause", context)
        return self._run("paused")

    def Resume(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.RunStatus:
        self._check("Resume", context)
        return self._run("running")

    def Compare(self, request: Any, context: grpc.ServicerContext) -> config_pb2.ConfigChange:
        return self._asked("Compare", request, context)

    def Set(self, request: Any, context: grpc.ServicerContext) -> config_pb2.ConfigChange:
        return self._asked("Set", request, context)

    def Reload(self, request: Any, context: grpc.ServicerContext) -> config_pb2.ConfigChange:
        return self._asked("Reload", request, context)

    def _asked(self, name: str, request: Any, context: grpc.ServicerContext) -> config_pb2.ConfigChange:
        self._check(name, context)
        self._peer.asked.append(request)
        return self._peer.change

    def _logs(self, request: Any, context: grpc.ServicerContext) -> Iterator[logs_pb2.LogBatch]:
        self._peer.asked.append(request)
        yield from self._peer.logged
        if request.follow:
            yield from self._peer.logs_coming
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._check("Watch", context)
        if isinstance(request, logs_pb2.WatchLogsRequest):
            yield from self._logs(request, context)
        else:
            yield from self._peer.watch

    def Past(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.RunStatus:
        self._check("Past", context)
        for run_id, status in self._peer.past.items():
            if run_id.startswith(request.run_id):
                return status
        context.abort(grpc.StatusCode.NOT_FOUND, f"run {request.run_id}: this peer took part in no such run")
        raise AssertionError

    def Checkpoints(self, request: Any, context: grpc.ServicerContext) -> runs_pb2.ListCheckpointsResponse:
        self._check("Checkpoints", context)
        found = [one for one in self._peer.checkpoints if one.spec.run_id.startswith(request.run_id)]
        return runs_pb2.ListCheckpointsResponse(checkpoints=found)

    def Export(self, request: Any, context: grpc.ServicerContext) -> Iterator[runs_pb2.ExportPart]:
        self._check("Export", context)
        self._peer.exported.append(request)
        yield from self._peer.parts

    def Publish(self, request: Any, context: grpc.ServicerContext) -> peers_pb2.PublishResponse:
        self._check("Publish", context)
        self._peer.published.append(list(request.records))
        return peers_pb2.PublishResponse(accepted=len(request.records))

    def Invite(self, request: Any, context: grpc.ServicerContext) -> peers_pb2.InviteResponse:
        self._check("Invite", context)
        token = f"token-for-{request.name}"
        return peers_pb2.InviteResponse(token=token, expires_in_seconds=request.expires_in_seconds)

    def Drain(self, request: Any, context: grpc.ServicerContext) -> Iterator[node_pb2.DrainProgress]:
        self._check("Drain", context)
        self._peer.drained.append(request)
        yield from self._peer.drain
        if self._peer.drain and self._peer.drain[-1].state == "lost":
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def WatchEvents(self, request: Any, context: grpc.ServicerContext) -> Iterator[node_pb2.Event]:
        self._check("WatchEvents", context)
        yield from self._peer.events[-request.last :] if request.last else self._peer.events
        if not request.follow:
            return
        yield from self._peer.coming
        if self._peer.over is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        self._peer.over.wait(10)

    def _run(self, state: str) -> runs_pb2.RunStatus:
        status = runs_pb2.RunStatus()
        status.CopyFrom(self._peer.run)
        if self._peer.started:
            status.spec.CopyFrom(self._peer.started[-1])
        status.state = state
        return status


class Peers:
    """Named fake peers on Unix sockets, and the contexts file that knows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: list[grpc.Server] = []
        self.contexts = Contexts(folder / "contexts.toml")

    def add(self, name: str) -> FakePeer:
        peer = FakePeer(name)
        endpoint = self.endpoint(name)
        server = make_server(peer)
        server.add_insecure_port(endpoint.address)
        self._start(server, endpoint)
        return peer

    def add_tls(self, name: str, credentials: grpc.ServerCredentials) -> tuple[FakePeer, int]:
        """On a loopback port, which is returned; the contexts file does not know it."""
        peer = FakePeer(name)
        server = make_server(peer)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        self._start(server, None)
        return peer, port

    def endpoint(self, name: str) -> Endpoint:
        return Endpoint(name, f"unix:{self._folder / name}.sock")

    def absent(self, name: str) -> Endpoint:
        """Known to the contexts file, but nobody listens."""
        self._know(self.endpoint(name))
        return self.endpoint(name)

    def _start(self, server: grpc.Server, endpoint: Endpoint | None) -> None:
        server.start()
        self._servers.append(server)
        if endpoint is not None:
            self._know(endpoint)

    def _know(self, endpoint: Endpoint) -> None:
        self.contexts = self.contexts.adding(endpoint)
        self.contexts.save()

    def close(self) -> None:
        for server in self._servers:
            server.stop(None).wait()


def make_server(peer: FakePeer) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    servicer = _Servicer(peer)
    node_pb2_grpc.add_NodeServicer_to_server(servicer, server)
    peers_pb2_grpc.add_PeersServicer_to_server(servicer, server)
    runs_pb2_grpc.add_RunsServicer_to_server(servicer, server)
    mixing_pb2_grpc.add_MixingServicer_to_server(servicer, server)
    config_pb2_grpc.add_ConfigServicer_to_server(servicer, server)
    logs_pb2_grpc.add_LogsServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(peer.healthy, server)
    return server


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Unix socket paths are short; pytest's folders are not always."""
    folder = Path(tempfile.mkdtemp(prefix="ctl-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the developer's own contexts."""
    monkeypatch.setenv("PEERCTL_CONTEXTS", str(short_path / "contexts.toml"))
    return short_path


@pytest.fixture
def peers(home: Path) -> Iterator[Peers]:
    made = Peers(home)
    yield made
    made.close()


class Runner:
    """`peerctl`, in this process: exit code, stdout and stderr as a shell sees them."""

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="peerctl")

    def json(self, *arguments: str) -> Any:
        """Of a command that must succeed: exactly one JSON value on stdout."""
        result = self(*arguments, "--output", "json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def error(self, code: int, *arguments: str) -> str:
        """Of a command that must fail: its one line on stderr, nothing on stdout."""
        result = self(*arguments)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        lines = result.stderr.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("peerctl: ")
        return lines[0].removeprefix("peerctl: ")


@pytest.fixture
def peerctl(home: Path) -> Runner:
    return Runner()


@pytest.fixture
def status_of() -> Callable[..., node_pb2.NodeStatus]:
    return node_status


class StandIn:
    """Daemons that are not: see standin.py. Call it to choose the bad habits of single peers."""

    command = (sys.executable, str(Path(__file__).with_name("standin.py")))

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, **habits: dict[str, Any]) -> None:
        self._monkeypatch.setenv("STANDIN", json.dumps(habits))

    def plan(self, peers: int = 3, hops: int = 1) -> Plan:
        return Plan.make(peers, command=self.command, hops=hops)

    def use_for_peerctl(self) -> None:
        """Let the commands start these instead of `peerd`."""
        self._monkeypatch.setattr(Plan.make.__func__, "__defaults__", (None, self.command))


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(monkeypatch)
    made()
    return made


@pytest.fixture
def left_running(short_path: Path) -> Callable[[], list[str]]:
    """Command lines of processes that mention the test's folder, other than this one."""

    def look() -> list[str]:
        lines = []
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or [])
            zombie = process.info["status"] == psutil.STATUS_ZOMBIE
            if str(short_path) in line and process.info["pid"] != os.getpid() and not zombie:
                lines.append(line)
        return lines

    return look
