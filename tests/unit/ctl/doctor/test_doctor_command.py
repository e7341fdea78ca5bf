from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctl import aio
from ctl.contexts import Endpoint, Tls
from ctl.doctor.asking import ask_peers, reachable
from peerd import __version__
from peerd.config import NetworkConfig
from peerd.membership import Authority, Identity


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def well(peer: Any, link: str) -> None:
    peer.status.version = __version__
    peer.status.link_address, peer.status.metrics_address = link, ""
    peer.peers = []


def test_all_well_and_in_a_table(
    peers: Any, peerctl: Any, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctl.commands.doctor.clock_state", lambda: 0)
    well(peers.add("alice"), listening)
    result = peerctl("doctor")
    assert result.exit_code == 0, result.output
    assert f"links at {listening} takes connections from here" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("All well")
    assert all(
        line.startswith(("ok ", "warn ", "fail ", " ", "\n")) for line in result.stdout.splitlines()[:-2]
    )


def test_a_peer_that_is_down_fails_it(peers: Any, peerctl: Any, listening: str) -> None:
    well(peers.add("alice"), listening)
    peers.absent("bob")
    result = peerctl("--all", "doctor")
    assert result.exit_code == 1
    line = next(line for line in result.stdout.splitlines() if "no daemon answers" in line)
    assert line.startswith("fail  bob")
    after = result.stdout.splitlines()[result.stdout.splitlines().index(line) + 1]
    assert after.strip().startswith("-> is it up there?")


def test_for_programs(peers: Any, peerctl: Any, listening: str) -> None:
    well(peers.add("alice"), listening)
    data = peerctl.json("--on", "alice", "doctor")
    assert data["healthy"] is True
    assert {"level", "about", "check", "text", "advice"} == set(data["findings"][0])


def test_nobody_is_known(home: Path, peerctl: Any) -> None:
    result = peerctl("doctor")
    assert result.exit_code == 1
    assert "names no peer" in result.stdout and "--state-dir" in result.stdout


def test_a_state_directory_whose_daemon_is_down(short_path: Path, home: Path, peerctl: Any) -> None:
    network = Authority.create(short_path / "net", NetworkConfig(name="lab"))
    folder = short_path / "alice"
    network.sign(Identity.create(folder, "alice", "192.0.2.1:9101").request(), "r").install(folder)
    result = peerctl("doctor", "--state-dir", str(folder))
    assert result.exit_code == 1  # the daemon does not answer
    failed = [line for line in result.stdout.splitlines() if line.startswith("fail")]
    assert len(failed) == 1 and "no daemon answers" in failed[0]
    assert "alice of network lab" in result.stdout


def test_a_socket_that_the_configuration_names(
    peers: Any, peerctl: Any, tmp_path: Path, listening: str
) -> None:
    well(peers.add("alice"), listening)
    config = tmp_path / "peerd.toml"
    config.write_text(f'[control]\nunix = "{peers.endpoint("alice").address.removeprefix("unix:")}"\n')
    result = peerctl("doctor", "--state-dir", str(tmp_path / "nowhere"), "--config", str(config))
    assert "answers in" in result.stdout


def test_the_certificate_of_a_control_api_over_tcp(short_path: Path, peers: Any) -> None:
    import grpc

    network = Authority.create(short_path / "net", NetworkConfig(name="lab"))
    folder = short_path / "alice"
    identity = Identity.create(folder, "alice", "192.0.2.1:9101")
    bundle = network.sign(identity.request(), "r")
    network.operator("ops", "admin", short_path / "ops")
    from peerd.membership.renewal import to_pem

    credentials = grpc.ssl_server_credentials(
        [(identity.link_key_pem, to_pem(bundle.chain).encode())],
        (short_path / "ops/ca.pem").read_bytes(),
        True,
    )
    _, port = peers.add_tls("alice", credentials)
    tls = Tls(short_path / "ops/ca.pem", short_path / "ops/ops.pem", short_path / "ops/ops.key", "alice")
    (told,) = aio.run(ask_peers([Endpoint("alice", f"127.0.0.1:{port}", tls)], 10.0))
    assert told.error is None
    assert told.certificate == bundle.chain[0]


def test_reachable_says_why_not(listening: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    found = aio.run(reachable([listening, closed], 5.0))
    assert found[listening] == ""
    assert "refused" in found[closed].lower() or "connect" in found[closed].lower()
