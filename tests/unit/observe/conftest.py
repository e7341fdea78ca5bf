from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from peerd.observe import Metrics, Sample, Tally
from peerd.status import (
    EndToEnd,
    EpochStatus,
    LoopsMeasured,
    MixingMeasured,
    NodeStatus,
    TrafficStatus,
    TrainerStatus,
)


def measured(**changes: Any) -> MixingMeasured:
    """Of a mix node that has done nothing yet."""
    quiet = MixingMeasured(
        entropy_bits=0.0,
        mixed=0,
        mean_entropy_bits=0.0,
        end_to_end=[EndToEnd(hops=1, bits=0.0, of_bits=2.0)],
        send_rate_per_second=0.0,
        loop_rate_per_second=0.0,
        drop_rate_per_second=0.0,
        cover_forgone=0,
        loops=LoopsMeasured(sent=0, returned=0, lost=0, loss=None, alarm=False),
        epoch=EpochStatus(
            epoch=0, ends_in_seconds=1.0, accepted=[0], replay_tags=0, replay_bytes=0,
            replay_false_positive_rate=0.0, replay_expected_false_positives=0.0,
        ),
    )  # fmt: skip
    return msgspec.structs.replace(quiet, **changes)


def node_status(**changes: Any) -> NodeStatus:
    """Of a peer without a run, whose trainer has died."""
    status = NodeStatus(
        name="alice",
        peer_id="ab" * 16,
        version="1.2.3",
        network="lab",
        uptime_seconds=12.5,
        link_address="192.0.2.1:9101",
        metrics_address="127.0.0.1:9103",
        peers_enrolled=5,
        peers_alive=4,
        strategy="exponential",
        hops=3,
        run_id="",
        run_state="",
        round=0,
        stage="idle",
        trainer=TrainerStatus(state="dead", pid=4242, last_error="/home/alice/secret.csv"),
        traffic=TrafficStatus(
            packets={"own": 3}, dropped={"replay": 1}, resent=1, gave_up=0, acked=2, delivered=2, in_flight=0,
            queued=0, bytes_sent=10, bytes_received=20, cell_bytes=1024, rtt_p50_seconds=0.25,
            rtt_p95_seconds=0.5, rtt_samples=[0.25],
        ),
        cpu_seconds=1.0,
        rss_bytes=1 << 20,
        epoch=7,
        alarms=[],
    )  # fmt: skip
    return msgspec.structs.replace(status, **changes)


class FakeNode:
    """Stands in for the node: says what a test wants it to say."""

    def __init__(self, sample: Sample) -> None:
        self.now = sample
        self.calls = 0

    def sample(self) -> Sample:
        self.calls += 1
        return self.now


@pytest.fixture
def sample() -> Callable[..., Sample]:
    def build(**changes: Any) -> Sample:
        quiet = Sample(
            version="1.2.3",
            strategy="exponential",
            hops=3,
            alarms={"direct": False, "tracing": False, "blending": False},
            mixing=measured(),
            bytes_sent=0,
            bytes_received=0,
            links_out=0,
            links_in=0,
            peers={},
            queues={},
            queue_limits=dict.fromkeys(("inbox", "mix", "link", "send", "in_flight"), 8),
            round=0,
            stage="idle",
            accuracy_local=None,
            accuracy_aggregated=None,
            train_loss=None,
            daemon_cpu_seconds=0.0,
            daemon_rss_bytes=0,
            trainer_cpu_seconds=0.0,
            trainer_rss_bytes=0,
            trainer_state="off",
            trainer_restarts=0,
            started_at=1.0e9,
            epoch_end=1.0e9 + 3600.0,
            replay_filter_used=0.0,
            certificates={"link": 2.0e9, "authority": 3.0e9},
            disk=None,
            files=None,
        )
        return quiet._replace(**changes)

    return build


@pytest.fixture
def status() -> Callable[..., NodeStatus]:
    return node_status


@pytest.fixture
def node(sample: Callable[..., Sample]) -> FakeNode:
    return FakeNode(sample())


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def metrics(tally: Tally, node: FakeNode) -> Metrics:
    return Metrics(tally, node)


@pytest.fixture
def root_logging() -> Iterator[logging.Logger]:
    """Python's root logger, put back afterwards as pytest had it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    yield root
    root.handlers, root.level = before, level
