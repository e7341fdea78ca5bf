"""`peerctl node drain`: followed to the end, and how it reads. `peerctl node health`: for machines."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from ctl.client import Client
from peerd.errors import DeniedError
from peerd.pb import node_pb2


def steps(*states: str) -> list[node_pb2.DrainProgress]:
    return [
        node_pb2.DrainProgress(state=state, messages=len(states) - place - 1, packets=1)
        for place, state in enumerate(states)
    ]


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob."""
    alice, bob = peers.add("alice"), peers.add("bob")
    alice.drain, bob.drain = (steps("announcing", "draining", "draining", "drained") for _ in range(2))
    return alice, bob


def test_progress_and_result(two: Any, peerctl: Any) -> None:
    result = peerctl("node", "drain")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "alice: announcing, 3 own messages unacknowledged, 1 packet of others to pass on",
        "alice: draining, 2 own messages unacknowledged, 1 packet of others to pass on",
        "alice: drained, 0 own messages unacknowledged, 1 packet of others to pass on",
    ]
    assert lines[-1].split() == ["alice", "drained", "0", "1"]
    (request,) = two[0].drained
    assert (request.timeout_seconds, request.stay) == (60.0, False)
    assert two[1].drained == []


def test_as_json_and_with_options(two: Any, peerctl: Any) -> None:
    shown = peerctl.json("--on", "alice,bob", "node", "drain", "--timeout", "5m", "--stay")
    assert {name: answer["state"] for name, answer in shown.items()} == {"alice": "drained", "bob": "drained"}
    assert [(r.timeout_seconds, r.stay) for peer in two for r in peer.drained] == [(300.0, True)] * 2


def test_all_must_be_said_twice(two: Any, peerctl: Any) -> None:
    assert "would stop the whole network" in peerctl.error(2, "--all", "node", "drain")
    assert two[0].drained == two[1].drained == []
    assert set(peerctl.json("--all", "node", "drain", "--yes")) == {"alice", "bob"}


def test_what_was_left_undone_is_a_failure(two: Any, peerctl: Any) -> None:
    two[0].drain = steps("announcing", "timeout")
    result = peerctl("node", "drain")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].split() == ["alice", "timeout", "0", "1"]


def test_a_daemon_that_ends_after_its_last_word_has_drained(two: Any, peerctl: Any) -> None:
    two[0].drain = steps("announcing", "drained")
    two[0].refuse, two[0].refused = (grpc.StatusCode.UNAVAILABLE, "never asked"), set()
    assert peerctl.json("node", "drain")["state"] == "drained"


def test_one_that_is_lost_or_breaks_off_is_reported(two: Any, peerctl: Any) -> None:
    two[0].drain = steps("announcing", "lost")
    result = peerctl("--on", "alice,bob", "node", "drain", "-o", "json")
    assert result.exit_code == 5
    assert '"bob"' in result.stdout and "alice" in result.stderr
    two[0].drain = steps("announcing")
    assert "alice: stopped draining: alice: announcing" in peerctl("node", "drain").stderr


def test_interrupted(two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(work: Any) -> None:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("ctl.commands.node.aio.run", interrupted)
    result = peerctl("--on", "bob", "node", "drain")
    assert result.exit_code == 130
    assert "`peerctl --on bob node drain` takes up the draining" in result.stderr


def test_health(two: Any, peerctl: Any, peers: Any) -> None:
    assert peerctl.json("--all", "node", "health") == {"alice": {"serving": True}, "bob": {"serving": True}}
    two[0].healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    peers.absent("carol")
    result = peerctl("--all", "node", "health")
    assert result.exit_code == 1
    assert result.stderr == ""
    rows = [line.split(maxsplit=1) for line in result.stdout.splitlines()[2:]]
    assert rows == [["alice", "not serving"], ["bob", "serving"], ["carol", "not serving"]]


def test_health_of_a_peer_that_may_not_be_asked_is_an_error(two: Any, peerctl: Any, monkeypatch: Any) -> None:
    async def refused(client: Any) -> bool:
        raise DeniedError(f"{client.endpoint.name}: not for you")

    monkeypatch.setattr(Client, "serving", refused)
    assert peerctl.error(6, "node", "health") == "alice: not for you"
