"""What members, viewers and strangers to a method can do to the control API: a live node, real mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import ssl
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ctl.client import Client
from ctl.contexts import Endpoint, Tls
from peerd.config import ControlConfig, LinkConfig, LoggingConfig, MetricsConfig, MixingConfig, PeerdConfig
from peerd.control import ControlServer, Refusals, TlsFiles, guard
from peerd.control.bounds import CALLS, STREAMS
from peerd.control.guard import LARGE, LARGE_BYTES, READ_ONLY, SMALL_BYTES
from peerd.control.server import HANDSHAKE_SECONDS, MAX_CONNECTIONS
from peerd.errors import BusyError
from peerd.membership import Authority
from peerd.node import Node
from peerd.observe import Logs
from peerd.pb import config_pb2, logs_pb2, mixing_pb2, node_pb2, node_pb2_grpc, peers_pb2, runs_pb2

CONFIG = PeerdConfig(
    link=LinkConfig(listen="127.0.0.1:0"), mixing=MixingConfig(hops=1), metrics=MetricsConfig(listen="")
)
METHODS = {
    f"/{service.full_name}/{method.name}": (method.client_streaming, method.server_streaming)
    for pb in (node_pb2, mixing_pb2, peers_pb2, runs_pb2, config_pb2, logs_pb2, health_pb2, reflection_pb2)
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
MALFORMED = (b"\xff\xff\xff\xff\x01garbage", b"\x0a" + b"\xff" * 9 + b"\x01")
PATIENCE = 30.0


@pytest.fixture
def tmp_path():
    """A short one: the path of a Unix socket has a limit."""
    with tempfile.TemporaryDirectory(prefix="peerd-") as folder:
        yield Path(folder)


class Alice:
    """A peer, the ways to it, and what it says of who is refused."""

    def __init__(self, server: ControlServer, node: Node, authority, files, log: io.StringIO) -> None:
        """`files`: of each caller its CA, key and certificate, PEM."""
        self.server, self.node, self.authority, self.files, self.log = server, node, authority, files, log

    @contextlib.asynccontextmanager
    async def connect(self, who: str):
        options = [("grpc.ssl_target_name_override", "alice.peerd"), ("grpc.use_local_subchannel_pool", 1)]
        if who == "unix":
            made = grpc.aio.insecure_channel(f"unix:{self.server.unix_path}", options)
        else:
            address = f"127.0.0.1:{self.server.tcp_port}"
            credentials = grpc.ssl_channel_credentials(*self.files[who])
            made = grpc.aio.secure_channel(address, credentials, options)
        async with made as channel:
            yield channel


@pytest.fixture
async def alice(enrol, tmp_path):
    state, bob, _ = enrol("alice", "bob", "carol")
    authority = Authority.load(tmp_path / "net")
    files = {"peer": (bob.ca_pem, bob.link_key_pem, bob.certificate_pem)}
    for name in ("admin", "viewer"):
        authority.operator(name, name, tmp_path / name)
        key, chain = ((tmp_path / name / f"{name}.{end}").read_bytes() for end in ("key", "pem"))
        files[name] = state.ca_pem, key, chain
    folder = tmp_path / "net" / "peers" / "alice"
    log = io.StringIO()
    logs = Logs(LoggingConfig(format="json"), log)
    node = Node(CONFIG, state, folder, logs.log)
    node.start()
    running = asyncio.create_task(node.run())
    tls = TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
    control = ControlConfig(listen="127.0.0.1:0")
    refusals = Refusals(logs.log, node.tally.refused)
    server = ControlServer(node.commands, control, folder, lambda: tls, logs.ring, refusals)
    await server.start()
    made = Alice(server, node, authority, files, log)
    try:
        yield made
    finally:
        await server.stop(0)
        running.cancel()
        await asyncio.wait({running})
        await node.close()


def listed() -> reflection_pb2.ServerReflectionRequest:
    return reflection_pb2.ServerReflectionRequest(list_services="")


async def opened(channel) -> tuple[object, str]:
    """A reflection stream that stays, and its first answer or the status that it got instead."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=PATIENCE)
    try:
        await call.write(listed())
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        return call, error.code().name
    except asyncio.InvalidStateError:  # it had ended before it could be written to
        return call, (await call.code()).name
    return call, "OK" if answer is not grpc.aio.EOF else (await call.code()).name


async def told(channel, method: str, body: bytes) -> tuple[str, str]:
    """Status and its details; OK, too, of a stream that has answered."""
    asking, answering = METHODS[method]
    make = {
        (False, False): channel.unary_unary, (False, True): channel.unary_stream,
        (True, True): channel.stream_stream,
    }[asking, answering](method)  # fmt: skip
    try:
        if not answering:
            await make(body, timeout=PATIENCE)
            return "OK", ""
        call = make(timeout=PATIENCE) if asking else make(body, timeout=PATIENCE)
        if asking:
            await call.write(body)
        answer = await call.read()
        if answer is not grpc.aio.EOF:
            call.cancel()
            return "OK", ""
        return (await call.code()).name, await call.details()
    except asyncio.InvalidStateError:
        return (await call.code()).name, await call.details()
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""


async def healthy(channel) -> bool:
    request = health_pb2.HealthCheckRequest()
    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def named(channel) -> str:
    request = node_pb2.GetStatusRequest(without_samples=True)
    return (await node_pb2_grpc.NodeStub(channel).GetStatus(request, timeout=PATIENCE)).name


async def test_a_member_that_is_no_operator_gets_nothing_and_takes_nothing_from_others(alice):
    async with alice.connect("peer") as bob, alice.connect("admin") as admin, alice.connect("unix") as unix:
        calls = await asyncio.gather(*(opened(bob) for _ in range(520)))
        # UNAVAILABLE: more streams than a connection may have, before the client was told how many.
        assert {got for _, got in calls} - {"UNAVAILABLE"} == {"PERMISSION_DENIED"}
        assert await healthy(unix)
        assert await named(unix) == await named(admin) == "alice"


async def test_one_operator_cannot_use_up_what_others_have(alice):
    async with alice.connect("viewer") as eye, alice.connect("admin") as admin, alice.connect("unix") as unix:
        calls = await asyncio.gather(*(opened(eye) for _ in range(STREAMS + 10)))
        got = Counter(got for _, got in calls)
        assert got == {"OK": STREAMS, "RESOURCE_EXHAUSTED": 10}
        busy = next(call for call, got in calls if got == "RESOURCE_EXHAUSTED")
        assert "end some" in await busy.details()
        assert await healthy(unix)
        assert await named(unix) == await named(admin) == "alice"
        assert await named(eye) == "alice", "who watches with all it may can still ask"
        for call, _ in calls:
            call.cancel()
        async with asyncio.timeout(PATIENCE):
            while (await opened(eye))[1] != "OK":
                pass


async def test_two_hundred_watch_with_one_certificate(alice):
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(alice.connect("viewer")) for _ in range(200)]
        request = node_pb2.WatchStatusRequest(interval_seconds=60.0)
        calls = [node_pb2_grpc.NodeStub(channel).WatchStatus(request) for channel in channels]
        seen = await asyncio.gather(*(asyncio.wait_for(call.read(), PATIENCE) for call in calls))
        assert [status.name for status in seen] == ["alice"] * 200
        assert await named(channels[0]) == "alice"
        for call in calls:
            call.cancel()


async def test_as_many_as_may_ask_at_the_same_moment(alice):
    async with alice.connect("viewer") as eye:
        assert await asyncio.gather(*(named(eye) for _ in range(CALLS))) == ["alice"] * CALLS


async def test_a_call_whose_request_never_comes_is_refused_before_it_is_waited_for(alice, monkeypatch):
    """And to who has a role it is told after a while; nobody else waits for it."""
    monkeypatch.setattr(guard, "REQUEST_SECONDS", 0.5)
    async with alice.connect("peer") as bob, alice.connect("viewer") as eye:
        for channel, status in ((bob, "PERMISSION_DENIED"), (eye, "INVALID_ARGUMENT")):
            call = channel.stream_stream("/peerd.v1.Node/GetStatus")(timeout=PATIENCE)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call.read()
            assert error.value.code().name == status


async def test_an_operator_who_is_revoked_loses_reflection_too(alice):
    async with alice.connect("viewer") as eye:
        call, got = await opened(eye)
        assert got == "OK"
        for record in alice.authority.revoke_operator("viewer"):
            alice.node.commands.roster.offer(record, time.time())
        await call.write(listed())
        with pytest.raises(grpc.aio.AioRpcError, match="revoked"):
            await call.read()
            await call.read()
        assert (await opened(eye))[1] == "PERMISSION_DENIED"


@pytest.mark.parametrize("who", ["peer", "viewer", "admin", "unix"])
async def test_bytes_that_are_no_request_are_refused_in_one_line(alice, who):
    """Every method there is: the role first, then the request."""
    refused = 0
    async with alice.connect(who) as channel:
        for method in METHODS:
            may = who in ("admin", "unix") or (
                who == "viewer" and (method in READ_ONLY or method.startswith("/grpc."))
            )
            most = LARGE_BYTES if method in LARGE else SMALL_BYTES
            too_large = b"\x7a" + b"x" * most
            for body in (*MALFORMED, too_large):
                status, details = await told(channel, method, body)
                allowed = {"INVALID_ARGUMENT"} if may else {"PERMISSION_DENIED"}
                if may and len(body) > LARGE_BYTES:
                    allowed = {"RESOURCE_EXHAUSTED"}
                assert status in allowed, (method, body[:10], status, details)
                assert details
                assert "\n" not in details
                refused += 1
    text = alice.log.getvalue()
    assert "Traceback" not in text
    assert text.count("\n") < 10, "one line in a minute of each kind"
    counted = alice.node.tally.control_refused
    assert counted["denied"] + counted["malformed"] >= refused - len(LARGE)
    assert counted["failed"] == 0


async def test_refused_requests_are_not_kept(alice):
    """Not even until Python looks for cycles: 256 callers with 2 MiB each would be half a gibibyte."""
    body = b"\xff" * (LARGE_BYTES - 1000)
    async with alice.connect("viewer") as channel:
        await told(channel, "/peerd.v1.Config/Compare", body)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(10):
                for method in ("/peerd.v1.Config/Compare", "/peerd.v1.Node/GetStatus"):
                    assert (await told(channel, method, body))[0] == "INVALID_ARGUMENT"
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
    assert held < 4 * LARGE_BYTES


@pytest.mark.parametrize("who", ["viewer", "unix"])
async def test_health_tells_of_all_services_and_of_none_that_is_not(alice, who):
    async with alice.connect(who) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.List(health_pb2.HealthListRequest(), timeout=PATIENCE)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert {name: one.status for name, one in answer.statuses.items()} == dict.fromkeys(
            ("", *(f"peerd.v1.{name}" for name in ("Node", "Mixing", "Peers", "Runs", "Config", "Logs"))),
            serving,
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Check(health_pb2.HealthCheckRequest(service="x"), timeout=PATIENCE)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_method_that_there_is_not_is_told_to_operators_alone(alice):
    expected = {"peer": "PERMISSION_DENIED", "viewer": "UNIMPLEMENTED", "unix": "UNIMPLEMENTED"}
    for who, status in expected.items():
        async with alice.connect(who) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary("/peerd.v1.Node/Nothing")(b"", timeout=PATIENCE)
            assert error.value.code().name == status


async def test_peerctl_says_what_to_do_where_it_is_too_much(alice, tmp_path):
    ca, cert, key = (tmp_path / "viewer" / name for name in ("ca.pem", "viewer.pem", "viewer.key"))
    endpoint = Endpoint("alice", f"127.0.0.1:{alice.server.tcp_port}", Tls(ca, cert, key, "alice"))
    async with alice.connect("viewer") as eye, Client(endpoint, PATIENCE) as client:
        await asyncio.gather(*(opened(eye) for _ in range(STREAMS)))
        with pytest.raises(BusyError, match=r"alice: this caller has 256 streams open.* end some") as error:
            await anext(client.watch_status(1.0))
        assert error.value.exit_code == 5
        assert await client.serving()


async def test_the_unix_socket_has_room_of_its_own(alice):
    async with alice.connect("unix") as unix, alice.connect("unix") as other:
        calls = await asyncio.gather(*(opened(unix) for _ in range(2 * STREAMS)))
        assert {got for _, got in calls} == {"OK"}
        assert await named(other) == "alice"


async def closed(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError):
        return await reader.read(1) == b""
    return True


async def test_connections_that_say_nothing_are_bounded_and_in_nobodys_way_at_the_socket(alice):
    """More than there may be: the rest is closed at once, long before the handshakes are given up."""
    more = 40
    opening = (
        asyncio.open_connection("127.0.0.1", alice.server.tcp_port) for _ in range(MAX_CONNECTIONS + more)
    )
    pairs = await asyncio.gather(*opening)
    try:
        waiting = {asyncio.create_task(closed(reader)) for reader, _ in pairs}
        gone = 0
        async with asyncio.timeout(HANDSHAKE_SECONDS / 2):
            while gone < more:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                gone += sum(task.result() for task in done)
        assert gone >= more
        async with alice.connect("unix") as unix:
            assert await named(unix) == "alice"
    finally:
        for task in waiting:
            task.cancel()
        for _, writer in pairs:
            writer.close()
    async with alice.connect("admin") as admin:
        assert await named(admin) == "alice"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def head(path: bytes, **others: bytes) -> bytes:
    """A HEADERS block: literal fields that are not indexed (RFC 7541, 6.2.2)."""
    fields = [
        (b":method", b"POST"), (b":scheme", b"https"), (b":path", path), (b":authority", b"alice.peerd"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"),
        *((name.replace("_", "-").encode(), value) for name, value in others.items()),
    ]  # fmt: skip
    return b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields
    )


STATUS = "/peerd.v1.Node/GetStatus"
STRANGE = {
    "a path that is no text": (head(b"/peerd.v1.Node/\xff\xfe"), b""),
    "no path": (head(b""), b""),
    "a path of another kind": (head(b"*"), b""),
    "a line break": (head(b"/peerd.v1.Node/Get\nStatus"), b""),
    "a request that is cut off": (head(STATUS.encode()), b"\x00\x00\x00\x00\x09abc"),
    "a request of four gigabytes": (head(STATUS.encode()), b"\x00\xff\xff\xff\xff"),
    "compressed by nothing": (head(STATUS.encode()), b"\x01\x00\x00\x00\x03abc"),
    "compressed by something": (head(STATUS.encode(), grpc_encoding=b"gzip"), b"\x01\x00\x00\x00\x03abc"),
    "an unknown flag": (head(STATUS.encode()), b"\x07\x00\x00\x00\x03abc"),
    "a time that is none": (head(STATUS.encode(), grpc_timeout=b"soon"), b"\x00\x00\x00\x00\x00"),
    "two requests": (head(STATUS.encode()), b"\x00\x00\x00\x00\x00" * 2),
    "no gRPC": (head(STATUS.encode(), content_type=b"text/plain"), b"hello"),
}


@pytest.mark.parametrize("who", ["peer", "viewer"])
async def test_no_bytes_of_http_make_a_traceback(alice, tmp_path, who):
    """Below what a client library can be made to send."""
    context = ssl.create_default_context(cadata=alice.files[who][0].decode())
    context.set_alpn_protocols(["h2"])
    (tmp_path / "chain").write_bytes(alice.files[who][1] + alice.files[who][2])
    context.load_cert_chain(tmp_path / "chain")
    for what, (headers, body) in STRANGE.items():
        address = ("127.0.0.1", alice.server.tcp_port)
        reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="alice.peerd")
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        writer.write(frame(1, 4, 1, headers) + frame(0, 1, 1, body) + frame(6, 0, 0, b"whatever"))
        answers = await asyncio.wait_for(reader.readuntil(b"whatever"), PATIENCE)
        assert answers, what
        writer.transport.abort()
    async with alice.connect("admin") as admin:
        assert await named(admin) == "alice"
    text = alice.log.getvalue()
    assert "Traceback" not in text, text
    assert text.count("\n") < 10, text
