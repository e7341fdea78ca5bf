"""What gRPC's own server lacks. If `test_grpc_still_needs_it` fails, gRPC is mended: `core` can go."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from peerd.control.core import UNKNOWN, Server
from peerd.control.health import Health

PATIENCE = 30.0
NO_TEXT = b"/grpc.health.v1.Health/\xff"


class Remembers(grpc.aio.ServerInterceptor):
    def __init__(self):
        self.methods = []

    async def intercept_service(self, continuation, details):
        self.methods.append(details.method)
        return await continuation(details)


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def call(path, way):
    """By bare HTTP/2; True once the server has shown that it goes on: it has answered a ping."""
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"),
              (b"content-type", b"application/grpc"), (b"te", b"trailers"))  # fmt: skip
    head = b"".join(b"\x00" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields)
    reader, writer = await asyncio.open_unix_connection(way)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 5, 1, head))
    writer.write(frame(6, 0, 0, b"whatever"))
    await asyncio.wait_for(reader.readuntil(b"whatever"), PATIENCE)
    writer.close()


@pytest.fixture
async def serve(tmp_path_factory):
    started = []

    async def start(server):
        way = f"{tmp_path_factory.mktemp('s')}/s"
        health = Health([])
        health.set(serving=True)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        server.add_insecure_port(f"unix:{way}")
        await server.start()
        started.append(server)
        return way

    yield start
    for server in started:
        await server.stop(None)


async def healthy(way, patience=PATIENCE):
    async with grpc.aio.insecure_channel(f"unix:{way}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=patience)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_path_that_is_no_text_is_an_unknown_method(serve):
    seen = Remembers()
    way = await serve(Server(seen, ()))
    for _ in range(3):
        await call(NO_TEXT, way)
        assert await healthy(way)
    assert seen.methods.count(UNKNOWN) == 3
    async with grpc.aio.insecure_channel(f"unix:{way}") as channel:
        for path in ("/grpc.health.v1.Health/Nothing", "/unknown/x", "/", "/a"):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await channel.unary_unary(path)(b"", timeout=PATIENCE)
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_nobody_can_call_the_name_itself(serve):
    seen = Remembers()
    way = await serve(Server(seen, ()))
    async with grpc.aio.insecure_channel(f"unix:{way}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(UNKNOWN)(b"", timeout=PATIENCE)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, "too large a header"
    assert seen.methods == []
    assert await healthy(way)


async def test_grpc_still_needs_it(serve):
    server = grpc.aio.server()
    way = await serve(server)
    await call(NO_TEXT, way)
    async with asyncio.timeout(PATIENCE):
        while server._server.is_running():
            with contextlib.suppress(grpc.aio.AioRpcError):
                await healthy(way, patience=0.5)
