"""Figures of a run that all series have."""

from __future__ import annotations

from collections import Counter

import pytest

from ctl.experiment.series import Measured, Traffic, outcome
from peerd.errors import PeerdError
from peerd.pb import runs_pb2

NOTHING = Traffic(Counter(), 0, 100, 0, 0, Counter())


def run(accuracies: list[float], digest: str = "x", tested: int = 360, **last: object) -> runs_pb2.RunStatus:
    status = runs_pb2.RunStatus(
        spec=runs_pb2.RunSpec(task="digits-cnn", partition="iid", seed=3, rounds=len(accuracies)),
        model_digest=digest, parameters=10, fragments=2,
    )  # fmt: skip
    for number, accuracy in enumerate(accuracies, start=1):
        fields = last if number == len(accuracies) else {}
        status.results.add(
            round=number, accuracy=accuracy, test_samples=tested, train_samples=5,
            **{"cohort": 2, "closed_by": "complete", "exchange_seconds": 0.5, **fields},
        )  # fmt: skip
    return status


def test_means_over_peers_and_the_last_round() -> None:
    found = Measured(
        {"a": run([0.5, 0.8]), "b": run([0.7, 0.9], "y", cohort=1, closed_by="grace")}, NOTHING, 9.0
    )
    made = outcome(found)
    assert (made["accuracy"], made["accuracy_min"]) == (0.85, 0.8)
    assert made["accuracy_per_round"] == [0.6, 0.85]
    assert (made["rounds"], made["peers"], made["cohort_min"], made["models"]) == (2, 2, 1, 2)
    assert made["closed_by"] == {"complete": 3, "grace": 1}
    assert (made["seconds"], made["exchange_seconds"]) == (9.0, 0.5)
    assert (made["task"], made["partition"], made["seed"]) == ("digits-cnn", "iid", 3)
    assert (made["train_samples"], made["test_samples"], made["fragments"]) == (5, 360, 2)


def test_a_run_that_nobody_measured_has_no_figures() -> None:
    with pytest.raises(PeerdError, match="no peer has measured its aggregate"):
        outcome(Measured({"a": run([0.5], tested=0)}, NOTHING, 1.0))
