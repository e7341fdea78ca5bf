from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from peerd.observe import Metrics, Sample, Tally
from peerd.status import EndToEnd, EpochStatus, LoopsMeasured, MixingMeasured


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
