"""Answers of peers, as the page is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ctl.dashboard.network import Look
from peerd.pb import mixing_pb2, runs_pb2

RUN = "0123456789abcdef" * 2


def run_status(
    *accuracies: float, state: str = "running", run_id: str = RUN, **fields: Any
) -> runs_pb2.RunStatus:
    """With one closed round for each accuracy."""
    results = [
        runs_pb2.RoundResult(
            round=number,
            accuracy=accuracy,
            accuracy_local=accuracy - 0.1,
            test_samples=100,
            round_seconds=2.0,
        )
        for number, accuracy in enumerate(accuracies, 1)
    ]
    spec = runs_pb2.RunSpec(run_id=run_id, task="digits-cnn", rounds=5)
    return runs_pb2.RunStatus(spec=spec, state=state, round=len(results) + 1, results=results, **fields)


@pytest.fixture
def make_run() -> Callable[..., runs_pb2.RunStatus]:
    return run_status


@pytest.fixture
def look_of(status_of: Callable[..., Any]) -> Callable[..., Look]:
    def make(
        name: str, run: runs_pb2.RunStatus | None = None, alarms: Sequence[str] = (), **fields: Any
    ) -> Look:
        config = mixing_pb2.MixingConfig(strategy="exponential", hops=3, mean_delay_seconds=0.05)
        measured = mixing_pb2.MixingMeasured(entropy_bits=3.0, mixed=10)
        status = status_of(name, **fields)
        status.alarms.extend(alarms)
        return Look(status, config, measured, run)

    return make
