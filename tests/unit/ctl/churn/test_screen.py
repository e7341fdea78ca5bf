from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from ctl.churn import Happened, Screen, Silence
from ctl.events import Told
from ctl.watch import Lines
from peerd.pb import node_pb2, runs_pb2


class Ear(Silence):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        self.heard.append("status")

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        self.heard.append("run")

    def event(self, told: Told) -> None:
        self.heard.append("event")

    def gone(self, name: str) -> None:
        self.heard.append("gone")


def run(rounds: int, **fields: Any) -> runs_pb2.RunStatus:
    status = runs_pb2.RunStatus(spec=runs_pb2.RunSpec(rounds=9), state="running", **fields)
    for number in range(1, rounds + 1):
        status.results.add(round=number, test_samples=5, accuracy=0.5, closed_by="complete")
    return status


def peer_event(by: str, peer: str, what: str) -> Told:
    return Told(by, node_pb2.Event(kind="peer", peer=peer, what=what))


def test_lines_for_rounds_for_what_is_done_and_for_what_the_witness_says() -> None:
    out = io.StringIO()
    ear = Ear()
    view = Lines(Console(file=out, width=200))
    screen = Screen(view, ["alice", "bob"], "alice", "churn: ", ear)
    screen.status("alice", 1, node_pb2.NodeStatus(), 0.0)
    screen.run("alice", run(1), 0.0)
    screen.happened(Happened(0.0, 2, "frozen", "bob"))  # its rounds are not waited for any more
    screen.run("alice", run(1), 0.0)
    screen.event(peer_event("alice", "bo\x1bb", "dead"))
    screen.event(peer_event("alice", "bob", "alive"))
    screen.event(peer_event("carol", "bob", "dead"))
    screen.run("bob", run(2, stage="listening", round=3), 0.0)
    screen.happened(Happened(0.0, 3, "killed", "bob"))
    screen.gone("bob")
    screen.run("alice", run(2), 0.0)
    lines = out.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "churn:   > bob freezes (SIGSTOP)",
        "churn: round 1/9: accuracy 0.500",
        "churn:     alice: bo b is dead",
        "churn: bob: listens in round 3",
        "churn:   > bob crashes (kill -9)",
        "churn: round 2/9: accuracy 0.500",
    ]
    assert ear.heard == ["status", "run", "run", "event", "event", "event", "run", "gone", "run"]
