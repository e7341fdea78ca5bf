"""The control API over real sockets: a live node behind it, real gRPC, real mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import tempfile
from pathlib import Path

import grpc
import grpc.aio
import msgspec
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from peerd.config import ControlConfig, LinkConfig, MetricsConfig, MixingConfig, PeerdConfig, TraceConfig
from peerd.control import ControlServer, TlsFiles
from peerd.errors import ConflictError, InvalidInputError
from peerd.membership import Authority
from peerd.node import Node
from peerd.pb import mixing_pb2 as mixing
from peerd.pb import mixing_pb2_grpc, node_pb2_grpc, peers_pb2, peers_pb2_grpc, runs_pb2_grpc
from peerd.pb import node_pb2 as node_pb
from peerd.pb import runs_pb2 as runs
from peerd.presets import PRESETS

CONFIG = PeerdConfig(
    link=LinkConfig(listen="127.0.0.1:0"),
    mixing=MixingConfig(hops=1),
    metrics=MetricsConfig(listen=""),
)
RUN_ID = "0123456789abcdef" * 2


@pytest.fixture
def tmp_path():
    """A short one: the path of a Unix socket has a limit, and pytest's own are long where it has workers."""
    with tempfile.TemporaryDirectory(prefix="peerd-") as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def serving(state, state_dir, control=None, config=CONFIG):
    node = Node(config, state, state_dir, structlog.get_logger())
    node.start()
    running = asyncio.create_task(node.run())
    tls = TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
    server = ControlServer(node.commands, control or ControlConfig(), state_dir, lambda: tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)
        running.cancel()
        await asyncio.wait({running})
        await node.close()


@pytest.fixture
async def channel(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    async with (
        serving(state, tmp_path / "net" / "peers" / "alice") as server,
        grpc.aio.insecure_channel(f"unix:{server.unix_path}") as channel,
    ):
        channel.path = server.unix_path
        yield channel


async def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    details = error.value.details()
    assert "\n" not in details
    assert "Traceback" not in details
    return error.value.code(), details


async def test_the_socket_is_the_owners_alone(channel):
    assert stat.S_IMODE(channel.path.stat().st_mode) == 0o600


async def test_health_and_reflection(channel):
    for service in ("", "peerd.v1.Node", "peerd.v1.Runs"):
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service)
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    async def ask():
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = [a async for a in stub.ServerReflectionInfo(ask())]
    names = {service.name for service in answer.list_services_response.service}
    assert {"peerd.v1.Node", "peerd.v1.Mixing", "peerd.v1.Peers", "peerd.v1.Runs"} <= names


async def test_status_and_peers(channel):
    status = await node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest())
    assert (status.name, status.network, status.peers_enrolled) == ("alice", "net", 2)
    assert status.trainer.state == "off"
    assert status.rss_bytes > 10_000_000
    listed = await peers_pb2_grpc.PeersStub(channel).List(peers_pb2.ListPeersRequest())
    assert {peer.name for peer in listed.peers} == {"bob", "carol"}
    assert {peer.state for peer in listed.peers} == {"joining"}


async def test_status_is_told_at_once_and_again(channel):
    watching = node_pb2_grpc.NodeStub(channel).WatchStatus(node_pb.WatchStatusRequest(interval_seconds=0.2))
    seen = [await asyncio.wait_for(watching.read(), 20) for _ in range(3)]
    watching.cancel()
    assert [status.name for status in seen] == ["alice"] * 3
    assert seen[0].uptime_seconds <= seen[1].uptime_seconds <= seen[2].uptime_seconds
    assert seen[0].uptime_seconds < seen[2].uptime_seconds


@pytest.mark.parametrize("interval", [0.0, -1.0, 0.1999, 86_401.0, float("nan"), float("inf"), float("-inf")])
async def test_another_interval_is_refused(channel, interval):
    stub = node_pb2_grpc.NodeStub(channel)
    code, details = await refused(
        stub.WatchStatus(node_pb.WatchStatusRequest(interval_seconds=interval)).read()
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "not from 0.2 to 86,400" in details


async def test_mixing_changes_what_is_given_and_nothing_else(channel):
    stub = mixing_pb2_grpc.MixingStub(channel)
    before = await stub.Get(mixing.GetMixingRequest())
    after = await stub.Update(mixing.UpdateMixingRequest(strategy="outbox", mean_delay_seconds=0.0))
    assert (after.strategy, after.mean_delay_seconds, after.hops) == ("outbox", 0.0, before.hops)
    assert await stub.Get(mixing.GetMixingRequest()) == after


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hops": 2}, "hops: 2 mix nodes between two peers need at least 4 enrolled peers"),
        ({"hops": 0}, "mixing: hops: Expected `int` >= 1"),
        ({"strategy": "telepathy"}, "mixing: strategy: Invalid enum value"),
        ({"mean_delay_seconds": -1.0}, "mean_delay_seconds"),
        ({"mean_delay_seconds": float("nan")}, "mean_delay_seconds"),
        ({"mean_delay_seconds": 9.0}, "max_delay_seconds: must be at least ten times"),
        ({"preset": "max"}, "preset: no such preset 'max'; allowed: fast, balanced, strong"),
        ({"preset": "strong", "hops": 0}, "mixing: hops: Expected `int` >= 1"),
        ({"pool_rate": 2.0}, "mixing: pool_rate: "),
        ({"loop_alarm_loss": 0.0}, "mixing: loop_alarm_loss: "),
        ({"threshold_size": 1}, "mixing: threshold_size: "),
        ({"cover_budget_bytes_per_second": float("inf")}, "cover_budget_bytes_per_second"),
        ({"send_rate_per_second": -1.0}, "mixing: send_rate_per_second: "),
    ],
)
async def test_wrong_mixing_is_refused_and_changes_nothing(channel, change, says):
    stub = mixing_pb2_grpc.MixingStub(channel)
    before = await stub.Get(mixing.GetMixingRequest())
    code, details = await refused(stub.Update(mixing.UpdateMixingRequest(**change)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in details
    assert await stub.Get(mixing.GetMixingRequest()) == before


async def test_a_preset_comes_first_and_fields_go_over_it(channel):
    stub = mixing_pb2_grpc.MixingStub(channel)
    before = await stub.Get(mixing.GetMixingRequest())
    after = await stub.Update(mixing.UpdateMixingRequest(preset="strong", loop_rate_per_second=0.0))
    strong = dict(PRESETS["strong"]) | {"loop_rate_per_second": 0.0}
    assert {name: getattr(after, name) for name in strong} == strong
    assert (after.hops, after.queue_limit) == (before.hops, before.queue_limit)
    again = await stub.Update(mixing.UpdateMixingRequest(preset="fast"))
    assert {name: getattr(again, name) for name in PRESETS["fast"]} == PRESETS["fast"]


async def test_what_mixing_does_is_measured(channel):
    stub = mixing_pb2_grpc.MixingStub(channel)
    await stub.Update(
        mixing.UpdateMixingRequest(
            send_rate_per_second=4.0, loop_rate_per_second=2.0, drop_rate_per_second=2.0
        )
    )
    measured = await stub.Measure(mixing.MeasureMixingRequest())
    assert (measured.entropy_bits, measured.mixed, measured.cover_forgone) == (0.0, 0, 0)
    rates = (measured.send_rate_per_second, measured.loop_rate_per_second, measured.drop_rate_per_second)
    assert rates == (4.0, 2.0, 2.0)
    assert [path.hops for path in measured.end_to_end] == [1, 2, 3, 4, 5]
    assert not measured.loops.HasField("loss")
    assert not measured.loops.alarm
    assert measured.epoch.epoch in measured.epoch.accepted
    assert 0.0 < measured.epoch.ends_in_seconds <= 3600.0
    assert measured.epoch.replay_bytes > 0
    status = await node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest())
    assert status.epoch == measured.epoch.epoch
    await stub.Update(mixing.UpdateMixingRequest(cover_budget_bytes_per_second=9000.0))
    lowered = await stub.Measure(mixing.MeasureMixingRequest())
    assert lowered.send_rate_per_second < 1.0
    assert lowered.send_rate_per_second == pytest.approx(2 * lowered.loop_rate_per_second)
    await stub.Update(mixing.UpdateMixingRequest(direct=True))
    direct = await stub.Measure(mixing.MeasureMixingRequest())
    assert direct.send_rate_per_second == direct.loop_rate_per_second == direct.drop_rate_per_second == 0.0


async def test_direct_mode_is_an_alarm_for_as_long_as_it_lasts(channel):
    stub, node = mixing_pb2_grpc.MixingStub(channel), node_pb2_grpc.NodeStub(channel)

    async def alarms():
        return list((await node.GetStatus(node_pb.GetStatusRequest())).alarms)

    assert await alarms() == []
    assert (await stub.Update(mixing.UpdateMixingRequest(direct=True))).direct
    assert await alarms() == ["direct"]
    await stub.Update(mixing.UpdateMixingRequest(hops=1))
    assert await alarms() == ["direct"], "another change does not end it"
    assert not (await stub.Update(mixing.UpdateMixingRequest(direct=False))).direct
    assert await alarms() == []


async def test_tracing_is_an_alarm_from_the_start(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    file = tmp_path / "trace" / "alice.jsonl"
    config = msgspec.structs.replace(CONFIG, trace=TraceConfig(file=str(file)))
    async with (
        serving(state, tmp_path / "net" / "peers" / "alice", config=config) as server,
        grpc.aio.insecure_channel(f"unix:{server.unix_path}") as channel,
    ):
        status = await node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest())
        assert list(status.alarms) == ["tracing"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_peers_have_an_epoch_and_no_loop_quality_before_a_loop(channel):
    listed = await peers_pb2_grpc.PeersStub(channel).List(peers_pb2.ListPeersRequest())
    assert not any(peer.HasField("loop_quality") for peer in listed.peers)
    assert {peer.epoch for peer in listed.peers} == {0}, "nothing was heard of them yet"


def spec(**changes):
    fields = {
        "run_id": RUN_ID, "task": "digits-cnn", "rounds": 1, "partition": "iid", "alpha": 0.5,
        "batch_size": 32, "local_epochs": 1, "learning_rate": 0.001, "quorum": 0.8,
        "grace_seconds": 1.0, "round_timeout_seconds": 10.0,
    }  # fmt: skip
    return runs.StartRunRequest(spec=runs.RunSpec(**(fields | changes)))


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"task": "tea-leaves"}, grpc.StatusCode.INVALID_ARGUMENT, "unknown task 'tea-leaves'; known: digits-cnn"),  # noqa: E501
        ({"run_id": "xyz"}, grpc.StatusCode.INVALID_ARGUMENT, "run spec: run_id"),
        ({"rounds": 0}, grpc.StatusCode.INVALID_ARGUMENT, "run spec: rounds"),
        ({"learning_rate": float("inf")}, grpc.StatusCode.INVALID_ARGUMENT, "run spec: learning_rate"),
        ({"task": "mnist-cnn", "data_dir": "/nowhere"}, grpc.StatusCode.NOT_FOUND, "/nowhere"),
        ({"task": "mnist-cnn"}, grpc.StatusCode.NOT_FOUND, "--data-dir"),
    ],
)  # fmt: skip
async def test_wrong_runs_are_refused(channel, change, code, says):
    stub = runs_pb2_grpc.RunsStub(channel)
    got, details = await refused(stub.Start(spec(**change)))
    assert got is code
    assert says in details
    assert (await refused(stub.Get(runs.GetRunRequest())))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_run_can_be_started_watched_and_stopped_once(channel):
    stub = runs_pb2_grpc.RunsStub(channel)
    started = await stub.Start(spec(rounds=1_000_000))
    assert started.state == "starting"
    code, details = await refused(stub.Start(spec()))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert RUN_ID in details
    seen = []
    async for status in stub.Watch(runs.WatchRunRequest()):
        seen.append(status.state)
        if status.round >= 2 and status.state == "running":
            stopped = await stub.Stop(runs.StopRunRequest())
            assert stopped.state == "stopped"
    assert seen[-1] == "stopped"
    for call in (stub.Stop(runs.StopRunRequest()), stub.Pause(runs.PauseRunRequest())):
        assert (await refused(call))[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_oversized_requests_are_refused(channel):
    code, _ = await refused(runs_pb2_grpc.RunsStub(channel).Start(spec(data_dir="x" * (3 << 20))))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_over_tcp_only_with_an_operators_certificate(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    authority = Authority.load(tmp_path / "net")
    for name, role in (("root", "admin"), ("eye", "viewer")):
        authority.operator(name, role, tmp_path / name)
    peer_dir = tmp_path / "net" / "peers" / "alice"

    def connect(port, key=None, certificate=None):
        credentials = grpc.ssl_channel_credentials(state.ca_pem, key, certificate)
        options = [("grpc.ssl_target_name_override", "alice.peerd")]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    def files(name):
        return [(tmp_path / name / f"{name}.{end}").read_bytes() for end in ("key", "pem")]

    async with serving(state, peer_dir, ControlConfig(listen="127.0.0.1:0")) as server:
        change = mixing.UpdateMixingRequest(loop_rate_per_second=1.0)
        async with connect(server.tcp_port, *files("root")) as channel:
            answer = await mixing_pb2_grpc.MixingStub(channel).Update(change)
            assert answer.loop_rate_per_second == 1.0
        async with connect(server.tcp_port, *files("eye")) as channel:
            await node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest())
            await mixing_pb2_grpc.MixingStub(channel).Get(mixing.GetMixingRequest())
            await mixing_pb2_grpc.MixingStub(channel).Measure(mixing.MeasureMixingRequest())
            await runs_pb2_grpc.RunsStub(channel).Checkpoints(runs.ListCheckpointsRequest())
            exported = runs_pb2_grpc.RunsStub(channel).Export(runs.ExportRequest())
            assert (await refused(exported.read()))[0] is grpc.StatusCode.PERMISSION_DENIED
            code, details = await refused(mixing_pb2_grpc.MixingStub(channel).Update(change))
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "viewer" in details
        async with connect(server.tcp_port, state.link_key_pem, state.certificate_pem) as channel:
            call = node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest())
            assert (await refused(call))[0] is grpc.StatusCode.PERMISSION_DENIED
        async with connect(server.tcp_port) as channel:
            call = node_pb2_grpc.NodeStub(channel).GetStatus(node_pb.GetStatusRequest(), timeout=5)
            assert (await refused(call))[0] is grpc.StatusCode.UNAVAILABLE
        plain = grpc.aio.insecure_channel(f"127.0.0.1:{server.tcp_port}")
        call = node_pb2_grpc.NodeStub(plain).GetStatus(node_pb.GetStatusRequest(), timeout=5)
        assert (await refused(call))[0] in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        await plain.close()
        with pytest.raises(ConflictError, match="cannot be bound"):
            twin = ControlConfig(unix=str(tmp_path / "c.sock"), listen=f"127.0.0.1:{server.tcp_port}")
            async with serving(state, peer_dir, twin):
                pass


async def test_a_socket_path_that_is_too_long_says_what_to_do(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    config = ControlConfig(unix=str(tmp_path / ("x" * 120)))
    with pytest.raises(InvalidInputError, match=r"\[control\] unix to a shorter one"):
        async with serving(state, tmp_path / "net" / "peers" / "alice", config):
            pass
