"""Configuration and log over the control API: a live node, real gRPC, real mutual TLS with its roles."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tempfile
import tomllib
from pathlib import Path

import grpc
import grpc.aio
import pytest

from peerd.config import ControlConfig, PeerdConfig
from peerd.control import ControlServer, TlsFiles
from peerd.membership import Authority
from peerd.node import Node
from peerd.observe import Logs
from peerd.observe.ring import MAX_LINES
from peerd.pb import (
    config_pb2,
    config_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    mixing_pb2,
    mixing_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
)
from peerd.settings import flat, keys
from peerd.source import Source

TEXT = """\
# Of alice.
[link]
listen = "127.0.0.1:0"
[mixing]
hops = 1          # three peers
[metrics]
listen = ""
detail = "full"
[logging]
level = "info"
"""
OTHERS = {
    "mixing.strategy": "pool", "mixing.queue_limit": 100, "delivery.max_in_flight": 3,
    "delivery.queue_limit": 50, "delivery.max_attempts": 2, "delivery.initial_timeout_seconds": 2.0,
    "delivery.min_timeout_seconds": 0.5, "delivery.max_timeout_seconds": 9.0, "delivery.dedup_limit": 2000,
    "relay.inbox_limit": 64, "link.queue_cells": 77, "membership.dead_after_seconds": 9.0,
    "membership.gossip_interval_seconds": 0.3, "membership.flap_limit": 8,
    "membership.flap_half_life_seconds": 5.0, "membership.dial_allow": ["127.0.0.0/8"],
    "training.join": "manual", "training.keep_checkpoints": 9, "training.tasks": ["a:b"],
    "training.max_restarts": 1, "metrics.neighbour_labels": True, "logging.level": "debug",
}  # fmt: skip
"""Another value for what changes at runtime, of every section."""


@pytest.fixture
def tmp_path():
    """A short one: the path of a Unix socket has a limit, and pytest's own are long where it has workers."""
    with tempfile.TemporaryDirectory(prefix="peerd-") as folder:
        yield Path(folder)


class Peer:
    """A node with its file and its log, and clients of it."""

    def __init__(self, file: Path, node: Node, server: ControlServer, logs: Logs, channel) -> None:
        self.file, self.node, self.server, self.logs = file, node, server, logs
        self.config = config_pb2_grpc.ConfigStub(channel)
        self.mixing = mixing_pb2_grpc.MixingStub(channel)
        self.status = node_pb2_grpc.NodeStub(channel)
        self.lines = logs_pb2_grpc.LogsStub(channel)

    async def in_force(self) -> dict:
        status = await self.config.Get(config_pb2.GetConfigRequest())
        return {setting.key: json.loads(setting.value) for setting in status.settings}

    async def set(self, persist=False, **values):
        encoded = {key.replace("__", "."): json.dumps(value) for key, value in values.items()}
        return await self.config.Set(config_pb2.SetConfigRequest(values=encoded, persist=persist))

    async def reload(self):
        return await self.config.Reload(config_pb2.ReloadConfigRequest())

    async def events(self) -> list:
        return [e async for e in self.status.WatchEvents(node_pb2.WatchEventsRequest())]


@contextlib.asynccontextmanager
async def serving(state, folder: Path, control: ControlConfig | None = None):
    file = folder / "peerd.toml"
    file.write_text(TEXT)
    started = Source(file).load()
    logs = Logs(started.config.logging, io.StringIO(), state_dir=folder)
    node = Node(started.config, state, folder, logs.log, started)
    node.start()
    node.reconfiguration.add("logging", logs.apply, logs.check)
    running = asyncio.create_task(node.run())
    tls = TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
    server = ControlServer(node.commands, control or ControlConfig(), folder, lambda: tls, logs.ring)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{server.unix_path}") as channel:
            yield Peer(file, node, server, logs, channel)
    finally:
        await server.stop(0)
        running.cancel()
        await asyncio.wait({running})
        await node.close()


@pytest.fixture
async def peer(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    async with serving(state, tmp_path / "net" / "peers" / "alice") as peer:
        yield peer


async def refused(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    details = error.value.details()
    assert "\n" not in details
    assert "Traceback" not in details
    return error.value.code(), details


def rewrite(path: Path, before: str, after: str) -> None:
    path.write_text(path.read_text().replace(before, after))


async def test_everything_in_force_is_shown_with_where_it_came_from(peer):
    status = await peer.config.Get(config_pb2.GetConfigRequest())
    assert status.file == str(peer.file)
    assert [setting.key for setting in status.settings] == list(keys())
    origins = {setting.key: setting.origin for setting in status.settings}
    assert (origins["mixing.hops"], origins["mixing.strategy"]) == ("file", "default")
    assert await peer.in_force() == flat(Source(peer.file).load().config)


async def test_every_key_that_is_said_to_change_at_runtime_does_on_a_live_node(peer):
    """Each section has its part, and back again by a reload."""
    before = await peer.in_force()
    done = await peer.set(**{key.replace(".", "__"): value for key, value in OTHERS.items()})
    assert {one.key for one in done.changed} == set(OTHERS)
    assert await peer.in_force() == before | OTHERS
    assert (await peer.mixing.Get(mixing_pb2.GetMixingRequest())).strategy == "pool"
    at_runtime = {key.name.partition(".")[0] for key in keys().values() if key.effect != "restart"}
    assert {key.partition(".")[0] for key in OTHERS} == at_runtime
    back = await peer.reload()
    assert {one.key for one in back.changed} == set(OTHERS)
    assert not back.waiting
    assert await peer.in_force() == before


@pytest.mark.parametrize(
    ("values", "code", "says"),
    [
        ({"mixing.hops": "2"}, "INVALID_ARGUMENT", "hops: 2 mix nodes between two peers need at least 4"),
        ({"mixing.hops": "6"}, "INVALID_ARGUMENT", "hops: 6 is more than the network's max_hops 5"),
        ({"link.listen": '"0.0.0.0:1"'}, "FAILED_PRECONDITION", "link.listen: needs a restart"),
        ({"logging.file": '"/nowhere/a.log"'}, "INVALID_ARGUMENT", "/nowhere/a.log cannot be written"),
        ({"membership.dial_allow": '["all"]'}, "INVALID_ARGUMENT", "'all' is not an address range"),
        ({"x" * 300_000: "1"}, "INVALID_ARGUMENT", "no such key"),
        ({}, "INVALID_ARGUMENT", "nothing to set"),
    ],
)  # fmt: skip
async def test_all_of_a_change_or_nothing(peer, values, code, says):
    before = await peer.in_force()
    good = {"logging.level": '"debug"', "delivery.max_attempts": "3"} if values else {}
    for persist in (False, True):
        request = config_pb2.SetConfigRequest(values=good | values, persist=persist)
        status, details = await refused(peer.config.Set(request))
        assert status.name == code
        assert says in details
    assert await peer.in_force() == before
    assert peer.file.read_text() == TEXT
    assert [event.what for event in await peer.events() if "configuration" in event.what] == []


async def test_a_broken_file_changes_nothing_and_is_told_in_one_line(peer):
    before = await peer.in_force()
    rewrite(peer.file, "hops = 1 ", "hops = 0 ")
    code, details = await refused(peer.reload())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{peer.file}: mixing.hops: Expected `int` >= 1")
    assert await peer.in_force() == before
    assert (await peer.events())[-1].what == "configuration not reloaded"
    (line,) = [line async for line in logged(peer, level="error")]
    assert json.loads(line.fields)["error"] == details


async def test_what_is_persisted_keeps_the_files_comments(peer):
    done = await peer.set(persist=True, mixing__mean_delay_seconds=0.08, logging__level="warning")
    assert done.file == str(peer.file)
    text = peer.file.read_text()
    assert "# Of alice." in text
    assert "hops = 1          # three peers" in text
    assert tomllib.loads(text)["logging"]["level"] == "warning"
    assert not (await peer.reload()).changed


async def test_comparing_with_another_file_and_with_what_is_none(peer):
    compare = peer.config.Compare
    same = await compare(config_pb2.CompareConfigRequest())
    assert (len(same.changed), len(same.waiting), same.file) == (0, 0, str(peer.file))

    def given(**values):
        return config_pb2.CompareConfigRequest(given=True, values=values, name="n")

    found = await compare(given(**{"relay.replay_capacity": "5000"}))
    assert [one.key for one in found.waiting] == [
        "link.listen", "relay.replay_capacity", "metrics.listen", "metrics.detail",
    ]  # fmt: skip
    assert [one.key for one in found.changed] == ["mixing.hops"]
    for values, says in (
        ({"k" * 200_000: "1"}, "no such key"),
        ({"mixing.hops": "[" * 90_000}, "mixing.hops: not JSON"),
        ({"mixing.hops": "9" * 100_001}, "mixing.hops: longer than"),
        ({"mixing.hops": "0"}, "mixing.hops: Expected `int` >= 1"),
        ({"link.listen": '"' + "x" * 90_000 + '"'}, "n: link.listen: "),
    ):
        code, details = await refused(compare(given(**values)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert says in details
        assert len(details) <= 2000


async def test_roles_over_tcp(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    authority = Authority.load(tmp_path / "net")
    for name, role in (("root", "admin"), ("eye", "viewer")):
        authority.operator(name, role, tmp_path / name)

    def connect(port, name):
        files = [(tmp_path / name / f"{name}.{end}").read_bytes() for end in ("key", "pem")]
        credentials = grpc.ssl_channel_credentials(state.ca_pem, *files)
        options = [("grpc.ssl_target_name_override", "alice.peerd")]
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    folder = tmp_path / "net" / "peers" / "alice"
    async with serving(state, folder, ControlConfig(listen="127.0.0.1:0")) as peer:
        async with connect(peer.server.tcp_port, "eye") as channel:
            config = config_pb2_grpc.ConfigStub(channel)
            assert (await config.Get(config_pb2.GetConfigRequest())).settings
            await config.Compare(config_pb2.CompareConfigRequest())
            peer.logs.log.info("for a viewer, too")
            watch = logs_pb2_grpc.LogsStub(channel).Watch(logs_pb2.WatchLogsRequest())
            assert [batch async for batch in watch]
            values = {"mixing.mean_delay_seconds": "0.01"}
            for call in (
                config.Set(config_pb2.SetConfigRequest(values=values)),
                config.Reload(config_pb2.ReloadConfigRequest()),
            ):
                code, details = await refused(call)
                assert code is grpc.StatusCode.PERMISSION_DENIED
                assert "viewer" in details
        async with connect(peer.server.tcp_port, "root") as channel:
            config = config_pb2_grpc.ConfigStub(channel)
            done = await config.Set(config_pb2.SetConfigRequest(values=values))
            assert done.changed[0].after == "0.01"
            assert (await config.Reload(config_pb2.ReloadConfigRequest())).changed[0].after == "0.05"


async def logged(peer, **request):
    async for batch in peer.lines.Watch(logs_pb2.WatchLogsRequest(**request)):
        for line in batch.lines:
            yield line


async def test_the_log_is_remembered_and_followed(peer):
    peer.logs.log.warning("odd", mix_key="secret", size=3)
    (line,) = [line async for line in logged(peer, last=1, level="warning")]
    assert (line.event, line.level) == ("odd", "warning")
    assert json.loads(line.fields) == {"mix_key": "[redacted]", "size": 3}
    stream = peer.lines.Watch(logs_pb2.WatchLogsRequest(follow=True, last=1))
    assert len((await stream.read()).lines) == 1
    peer.logs.log.debug("below the level of the daemon")
    peer.logs.log.info("comes")
    assert [line.event for line in (await stream.read()).lines] == ["comes"]
    stream.cancel()
    code, details = await refused(peer.lines.Watch(logs_pb2.WatchLogsRequest(level="loud")).read())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "allowed: debug, info, warning, error" in details


async def test_a_client_that_does_not_read_holds_up_nobody_and_is_told_what_it_missed(peer):
    peer.logs.log.info("first")
    stream = peer.lines.Watch(logs_pb2.WatchLogsRequest(follow=True, last=1))
    await stream.read()
    text = "x" * 1500
    written = 0
    for _ in range(10):
        for _ in range(500):
            peer.logs.log.info("burst", text=text, number=written)
            written += 1
        started = asyncio.get_running_loop().time()
        await peer.in_force()  # answered between the bursts, whatever that client does
        assert asyncio.get_running_loop().time() - started < 5
    assert len(peer.logs.ring) <= MAX_LINES
    seen = lost = 0
    while seen + lost < written:
        batch = await asyncio.wait_for(stream.read(), 20)
        lost += batch.lost
        seen += len(batch.lines)
    assert json.loads(batch.lines[-1].fields)["number"] == written - 1
    assert lost > 0
    stream.cancel()


async def test_two_hundred_followers_get_the_same(peer):
    peer.logs.log.info("first")
    streams = [peer.lines.Watch(logs_pb2.WatchLogsRequest(follow=True, last=1)) for _ in range(200)]
    await asyncio.gather(*(stream.read() for stream in streams))
    peer.logs.log.info("for all")
    batches = await asyncio.wait_for(asyncio.gather(*(stream.read() for stream in streams)), 30)
    assert {batch.lines[0].event for batch in batches} == {"for all"}
    for stream in streams:
        stream.cancel()


async def test_defaults_are_those_of_this_version(peer):
    status = await peer.config.Get(config_pb2.GetConfigRequest())
    assert {s.key: json.loads(s.default) for s in status.settings} == flat(PeerdConfig())


HOSTS_OWN = {
    "training.tasks": '["digits-cnn", "mytask:make"]',
    "training.task_path": '"/tmp/elsewhere"',
    "training.data_dir": '"/etc"',
    "logging.file": '"/tmp/elsewhere.log"',
    "membership.dial_allow": '["127.0.0.0/8"]',
    "link.listen": '"0.0.0.0:1"',
    "trace.file": '"/tmp/elsewhere"',
}


async def test_what_is_the_hosts_own_is_not_set_over_the_network(enrol, tmp_path):
    """By nobody: an admin of the network is no admin of each host."""
    state, *_ = enrol("alice", "bob", "carol")
    authority = Authority.load(tmp_path / "net")
    authority.operator("root", "admin", tmp_path / "root")
    files = [(tmp_path / "root" / f"root.{end}").read_bytes() for end in ("key", "pem")]
    credentials = grpc.ssl_channel_credentials(state.ca_pem, *files)
    options = [("grpc.ssl_target_name_override", "alice.peerd")]
    folder = tmp_path / "net" / "peers" / "alice"
    async with serving(state, folder, ControlConfig(listen="127.0.0.1:0")) as peer:
        before = await peer.in_force()
        address = f"127.0.0.1:{peer.server.tcp_port}"
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            config = config_pb2_grpc.ConfigStub(channel)
            for key, value in HOSTS_OWN.items():
                for persist in (False, True):
                    values = {key: value, "logging.level": '"debug"'}
                    request = config_pb2.SetConfigRequest(values=values, persist=persist)
                    code, details = await refused(config.Set(request))
                    assert code is grpc.StatusCode.PERMISSION_DENIED
                    assert details.startswith(f"{key}: each host decides this by itself")
            assert await peer.in_force() == before
            assert peer.file.read_text() == TEXT
            await config.Set(config_pb2.SetConfigRequest(values={"logging.level": '"debug"'}))
            rewrite(peer.file, "[logging]", '[training]\ntasks = ["a:b"]\n[logging]')
            assert (await config.Reload(config_pb2.ReloadConfigRequest())).changed, "its own file may say it"
        await peer.set(training__tasks=["c:d"])
        assert (await peer.in_force())["training.tasks"] == ["c:d"], "and who is on the host"


async def test_no_log_is_written_over_what_is_none(peer):
    """Also where it is the host's own operator who names the file."""
    folder = peer.file.parent
    identity = folder / "identity.json"
    before = identity.read_bytes()
    other = folder.parent.parent / "notes.txt"
    other.write_text("mine\n")
    (folder.parent.parent / "way-in").symlink_to(folder)
    for file, says in (
        (identity, "is in the state directory"),
        (folder / "peerd.log", "is in the state directory"),
        (folder.parent.parent / "way-in" / "peerd.log", "is in the state directory"),
        (other, "is no log of peerd's"),
        (Path("/dev/null"), "cannot be written: not a file"),
    ):
        for persist in (False, True):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await peer.set(persist=persist, logging__file=str(file))
            assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert f"logging.file: {file} {says}" in error.value.details()
    assert identity.read_bytes() == before
    assert other.read_text() == "mine\n"
    assert not (folder / "peerd.log").exists()
    rewrite(peer.file, "[logging]", f'[logging]\nfile = "{identity}"')
    assert (await refused(peer.reload()))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert identity.read_bytes() == before
