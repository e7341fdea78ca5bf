from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctl.top.sample import Sample
from peerd.pb import mixing_pb2, peers_pb2, runs_pb2


@pytest.fixture
def sample_of(status_of: Callable[..., Any]) -> Callable[..., Sample]:
    """Of a peer in round 3 of 4 that has sent `cells` of 1,000 bytes; keywords are fields of its status."""

    def make(name: str = "alice", at: float = 0.0, cells: int = 0, **fields: Any) -> Sample:
        fields = {"uptime_seconds": 100.0 + at} | fields
        status = status_of(name, **({"stage": "exchanging"} | fields))
        traffic = status.traffic
        traffic.cell_bytes, traffic.bytes_sent, traffic.bytes_received = 1000, 1000 * cells, 500 * cells
        for kind in list(traffic.packets):
            traffic.packets[kind] = cells
        traffic.dropped["replay"] = cells
        status.cpu_seconds = status.trainer.cpu_seconds = cells / 100
        result = runs_pb2.RoundResult
        run = runs_pb2.RunStatus(
            spec=runs_pb2.RunSpec(run_id="ab" * 16, task="digits-cnn", rounds=4),
            state="running", stage="exchanging", round=3, fragments_received=1, fragments_expected=2,
            results=[result(round=1, accuracy=0.5, test_samples=9),
                     result(round=2, accuracy=0.75, test_samples=9)],
        )  # fmt: skip
        mixing = mixing_pb2.MixingMeasured(entropy_bits=2.5, mixed=10)
        peer = peers_pb2.Peer
        peers = (
            peer(name="bob", state="alive", outbound="up", inbound="up"),
            peer(name="carol", state="suspect", outbound="connecting", inbound="up"),
            peer(name="dora", state="left", outbound="down", inbound="down"),
        )
        return Sample(at, status, run, mixing, peers)

    return make
