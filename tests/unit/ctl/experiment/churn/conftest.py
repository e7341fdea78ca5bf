"""Records of runs whose numbers one can check by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ctl.events import Told
from ctl.experiment.churn.record import Record
from peerd.pb import node_pb2, runs_pb2


class Made:
    """A record, and the daemons' words that go into it."""

    def __init__(self) -> None:
        self.record = Record()

    def status(self, name: str, at: float, life: int = 1, **fields: Any) -> None:
        dropped = {key: fields.pop(key) for key in ("peer_dead", "cancelled", "gave_up") if key in fields}
        traffic = node_pb2.TrafficStatus(
            resent=fields.pop("resent", 0), gave_up=dropped.get("gave_up", 0), dropped=dropped
        )
        self.record.status(name, life, node_pb2.NodeStatus(traffic=traffic, **fields), at)

    def says(self, name: str, at: float, contributes_from: int = 1, state: str = "running") -> None:
        """What its run says now, with all rounds that it has closed."""
        results = self.record.results.get(name, {}).values()
        self.record.run(name, self._run(list(results), contributes_from, state), at)

    def closes(
        self, name: str, number: int, at: float, exchange: float, contributes_from: int = 1, **fields: Any
    ) -> None:
        """A round, after an exchange of so many seconds."""
        known = list(self.record.results.get(name, {}).values())
        known.append(
            runs_pb2.RoundResult(
                round=number, exchange_seconds=exchange, test_samples=360,
                **{"accuracy": 0.5, "closed_by": "complete", **fields},
            )
        )  # fmt: skip
        self.record.run(name, self._run(known, contributes_from, "running"), at)

    def _run(self, results: list[runs_pb2.RoundResult], first: int, state: str) -> runs_pb2.RunStatus:
        return runs_pb2.RunStatus(state=state, contributes_from=first, results=results)

    def event(self, by: str, at: float, peer: str, what: str) -> None:
        self.record.event(Told(by, node_pb2.Event(at=at, kind="peer", peer=peer, what=what)))


@pytest.fixture(scope="session")
def maker() -> type[Made]:
    return Made


@pytest.fixture
def made() -> Made:
    return Made()
