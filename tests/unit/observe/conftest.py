from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from peerd.observe import Metrics, Sample, Tally


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
            bytes_sent=0,
            bytes_received=0,
            links_out=0,
            links_in=0,
            peers={},
            queues={},
            round=0,
            stage="idle",
            accuracy_local=None,
            accuracy_aggregated=None,
            train_loss=None,
            daemon_cpu_seconds=0.0,
            daemon_rss_bytes=0,
            trainer_cpu_seconds=0.0,
            trainer_rss_bytes=0,
            trainer_up=False,
            trainer_restarts=0,
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
