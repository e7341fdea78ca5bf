"""An operator's rights end while its connection is open: over real TLS."""

from __future__ import annotations

import asyncio
import time

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from peerd.config import NetworkConfig
from peerd.control.guard import Guard, by_roster
from peerd.membership import Authority, PeerState
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust
from peerd.pb import runs_pb2, runs_pb2_grpc

ASK = health_pb2.HealthCheckRequest()


class Runs(runs_pb2_grpc.RunsServicer):
    """Tells its watchers what comes out of a queue."""

    def __init__(self, queue: asyncio.Queue) -> None:
        self._queue = queue

    async def Watch(self, request, context):
        while True:
            yield await self._queue.get()


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab"))


@pytest.fixture
async def peer(authority, tmp_path):
    """A gRPC server with the guard before it, and what its peer knows."""
    authority.enroll_local("alice", "127.0.0.1:1", tmp_path / "alice").install(tmp_path / "alice")
    state = PeerState.load(tmp_path / "alice")
    roster = Roster("lab", Trust("lab", state.authorities), 10, state.peer_id)
    server = grpc.aio.server(interceptors=(Guard(by_roster(roster)),))
    server.roster, server.health, server.runs = roster, health.aio.HealthServicer(), asyncio.Queue()
    runs_pb2_grpc.add_RunsServicer_to_server(Runs(server.runs), server)
    health_pb2_grpc.add_HealthServicer_to_server(server.health, server)
    credentials = grpc.ssl_server_credentials(
        [(state.link_key_pem, state.certificate_pem)], state.ca_pem, require_client_auth=True
    )
    server.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    await server.health.set("", health_pb2.HealthCheckResponse.SERVING)
    yield server
    await server.stop(None)


@pytest.fixture
async def operator(authority, peer, tmp_path):
    """The stub of an operator who is connected."""
    authority.operator("ops", "viewer", tmp_path / "ops")
    ca, key, chain = ((tmp_path / "ops" / n).read_bytes() for n in ("ca.pem", "ops.key", "ops.pem"))
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    options = [("grpc.ssl_target_name_override", "alice.peerd"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{peer.port}", credentials, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.runs = runs_pb2_grpc.RunsStub(channel)
        yield stub


async def test_a_revoked_operator_gets_no_further_answer(authority, peer, operator):
    assert (await operator.Check(ASK, timeout=20)).status == health_pb2.HealthCheckResponse.SERVING
    watching = operator.runs.Watch(runs_pb2.WatchRunRequest())
    await peer.runs.put(runs_pb2.RunStatus(state="starting"))
    assert (await asyncio.wait_for(watching.read(), 20)).state == "starting"
    for record in authority.revoke_operator("ops"):
        peer.roster.offer(record, time.time())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await operator.Check(ASK, timeout=20)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "revoked" in error.value.details()
    await peer.runs.put(runs_pb2.RunStatus(state="running"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asyncio.wait_for(watching.read(), 20)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_health_service_is_watched_like_any_other(peer, operator):
    watching = operator.Watch(ASK)
    for state in (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING):
        await peer.health.set("", state)
        assert (await asyncio.wait_for(watching.read(), 20)).status == state
    watching.cancel()
