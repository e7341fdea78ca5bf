"""Real channels to real servers: what arrives, and how each failure reads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ctl.client import Client, translate
from ctl.contexts import Endpoint, Tls, operator_tls
from peerd.config import NetworkConfig
from peerd.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    PeerdError,
    UnavailableError,
)
from peerd.membership import Authority, PeerState
from peerd.pb import mixing_pb2, node_pb2, runs_pb2

SECONDS = 5.0


async def test_every_call_arrives(peers: Any) -> None:
    peer = peers.add("alice")
    peer.watch = [runs_pb2.RunStatus(state="running"), runs_pb2.RunStatus(state="finished")]
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        assert (await client.status()).name == "alice"
        assert [p.name for p in await client.peers()] == ["zoe"]
        assert (await client.mixing()).hops == 3
        changed = await client.update_mixing(mixing_pb2.UpdateMixingRequest(hops=2))
        assert changed.hops == 2
        assert (await client.start_run(runs_pb2.RunSpec(rounds=7))).state == "starting"
        assert (await client.run()).spec.rounds == 7
        assert (await client.pause_run()).state == "paused"
        assert (await client.resume_run()).state == "running"
        assert (await client.stop_run()).state == "stopped"
        assert [status.state async for status in client.watch_run()] == ["running", "finished"]
        assert (await client.start_run(runs_pb2.RunSpec(rounds=7), b"signed")).state == "starting"
        assert (await client.stop_run(b"over")).state == "stopped"
        assert peer.notices == [b"", b"", b"signed", b"over"]
        invitation = await client.invite("zoe", 60.0)
        assert (invitation.token, invitation.expires_in_seconds) == ("token-for-zoe", 60.0)
        assert await client.serving()
        await client.wait_serving()


async def test_records_go_in_pieces_that_grpc_takes(peers: Any) -> None:
    peer = peers.add("alice")
    records = [bytes([number]) * (400 << 10) for number in range(5)]
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        assert await client.publish(records) == 5
        assert await client.publish([]) == 0
    assert [len(piece) for piece in peer.published] == [2, 2, 1]
    assert [record for piece in peer.published for record in piece] == records


async def test_a_drain_is_followed_to_its_end(peers: Any) -> None:
    peer = peers.add("alice")
    peer.drain = [
        node_pb2.DrainProgress(state="announcing", messages=3),
        node_pb2.DrainProgress(state="drained"),
    ]
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        seen = [progress async for progress in client.drain(7.0, stay=True)]
    assert seen == peer.drain
    assert (peer.drained[0].timeout_seconds, peer.drained[0].stay) == (7.0, True)


async def test_events_are_the_latest_and_then_what_comes(peers: Any) -> None:
    peer = peers.add("alice")
    peer.events = [node_pb2.Event(number=number, kind="peer") for number in (1, 2, 3)]
    peer.coming = [node_pb2.Event(number=4)]
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        assert [event.number async for event in client.events(follow=False, last=2)] == [2, 3]
        assert [event.number async for event in client.events(follow=False, last=0)] == [1, 2, 3]
        seen = []
        with pytest.raises(UnavailableError, match="alice"):
            async for event in client.events(follow=True, last=1):
                seen.append(event.number)
    assert seen == [3, 4]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInputError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.FAILED_PRECONDITION, ConflictError),
        (grpc.StatusCode.ALREADY_EXISTS, ConflictError),
        (grpc.StatusCode.PERMISSION_DENIED, DeniedError),
        (grpc.StatusCode.UNAUTHENTICATED, DeniedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, BusyError),
        (grpc.StatusCode.INTERNAL, PeerdError),
    ],
)
async def test_a_refusal_keeps_its_kind_and_its_words(
    peers: Any, code: grpc.StatusCode, kind: type[PeerdError]
) -> None:
    peers.add("alice").refuse = (code, "because\n\x1b[31mI say so")
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        with pytest.raises(PeerdError) as caught:
            await client.status()
        assert type(caught.value) is kind
        assert str(caught.value) == "alice: because [31mI say so"
        with pytest.raises(kind, match="because"):
            _ = [status async for status in client.watch_run()]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ("CLIENT: Received message larger than max (3 vs. 2)", InvalidInputError, "a message was too large"),
        ("Too many pending requests for this server", BusyError, "ask again later, or at its Unix socket"),
        ("", BusyError, "ask again later, or at its Unix socket"),
        ("64 streams open: end some", BusyError, "64 streams open: end some"),
    ],
)
def test_too_much_says_what_to_do(words: str, kind: type[PeerdError], says: str) -> None:
    nothing = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, words)
    told = translate(error, Endpoint("alice", "unix:/a"))
    assert type(told) is kind
    assert str(told).startswith("alice: ")
    assert says in str(told)


async def test_nobody_there(peers: Any) -> None:
    async with Client(peers.absent("alice"), SECONDS) as client:
        with pytest.raises(UnavailableError, match=r"alice: no daemon answers at unix:.*alice\.sock"):
            await client.status()
        assert await client.serving() is False


async def test_no_answer_in_time(peers: Any) -> None:
    hold = peers.add("alice").hold = threading.Event()
    try:
        async with Client(peers.endpoint("alice"), 0.1) as client:
            with pytest.raises(UnavailableError, match="alice: no answer in time"):
                await client.status()
    finally:
        hold.set()


async def test_an_older_daemon(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peers.add("alice")
    async with Client(peers.endpoint("alice"), SECONDS) as client:
        client._node.GetStatus = client._channel.unary_unary("/peerd.v1.Node/Unheard")
        monkeypatch.setattr("peerd.pb.node_pb2.GetStatusRequest", lambda **_: b"")
        with pytest.raises(PeerdError, match="does not know this command"):
            await client.status()


class Network:
    """A CA with one enrolled peer, whose control API is served over TCP, and an operator."""

    def __init__(self, folder: Path, peers: Any) -> None:
        authority = Authority.create(folder / "net", NetworkConfig(name="lab"))
        state = folder / "alice"
        state.mkdir()
        authority.enroll_local("alice", "127.0.0.1:9101", state).install(state)
        self.certificate = authority.operator("ops", "admin", folder / "ops")
        secret = PeerState.load(state)
        credentials = grpc.ssl_server_credentials(
            [(secret.link_key_pem, secret.certificate_pem)],
            root_certificates=secret.ca_pem,
            require_client_auth=True,
        )
        self.peer, self.port = peers.add_tls("alice", credentials)

    def endpoint(self, tls: Tls) -> Endpoint:
        return Endpoint("alice", f"127.0.0.1:{self.port}", tls)


@pytest.fixture
def network(tmp_path: Path, peers: Any) -> Network:
    return Network(tmp_path, peers)


async def test_mutual_tls_checks_the_peers_name(network: Network) -> None:
    tls = operator_tls(network.certificate, "alice")
    async with Client(network.endpoint(tls), SECONDS) as client:
        assert (await client.status()).name == "alice"
    wrong = operator_tls(network.certificate, "bob")
    async with Client(network.endpoint(wrong), SECONDS) as client:
        with pytest.raises(DeniedError, match="it must have peer bob's certificate"):
            await client.status()
    assert network.peer.called == ["GetStatus"]


async def test_another_networks_operator_is_refused(network: Network, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", NetworkConfig(name="other"))
    stranger = operator_tls(other.operator("eve", "admin", tmp_path / "eve"), "alice")
    mine = operator_tls(network.certificate, "alice")
    mixed = Tls(mine.ca, stranger.cert, stranger.key, "alice")
    async with Client(network.endpoint(stranger), SECONDS) as client:  # we refuse the server
        with pytest.raises(DeniedError, match="no TLS with"):
            await client.status()
    async with Client(network.endpoint(mixed), SECONDS) as client:  # it refuses us
        with pytest.raises(UnavailableError, match=r"closed the connection; does it accept .*eve"):
            await client.status()
    assert network.peer.called == []


async def test_files_that_are_no_keys(network: Network, tmp_path: Path) -> None:
    tls = operator_tls(network.certificate, "alice")
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\0" * 10)
    with pytest.raises(InvalidInputError, match=r"alice: .*junk\.pem: not a PEM file"):
        Client(network.endpoint(Tls(junk, tls.cert, tls.key, "alice")), SECONDS)
    gone = tmp_path / "gone.pem"
    with pytest.raises(NotFoundError, match=r"alice: .*gone\.pem: no such file"):
        Client(network.endpoint(Tls(tls.ca, tls.cert, gone, "alice")), SECONDS)
