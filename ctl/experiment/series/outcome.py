"""What came of a run, in figures that all series have."""

from __future__ import annotations

from collections import Counter
from statistics import fmean
from typing import Any

from ctl.board import evaluated, results_of
from ctl.experiment.series.play import Measured
from peerd.errors import PeerdError

DIGITS = 6
"""Decimals of the figures."""


def outcome(found: Measured) -> dict[str, Any]:
    """Accuracies are of the aggregates, means over the peers; the last round is measured on all test samples.
    PeerdError where no peer has measured any."""
    statuses = list(found.runs.values())
    results = [result for status in statuses for result in status.results]
    rounds = sorted({result.round for status in statuses for result in evaluated(status)})
    if not rounds:
        raise PeerdError("no peer has measured its aggregate")
    last = [result.accuracy for result in results_of(statuses, rounds[-1])]
    spec = statuses[0].spec
    return {
        "accuracy": rounded(fmean(last)),
        "accuracy_min": rounded(min(last)),
        "accuracy_per_round": [
            rounded(fmean(r.accuracy for r in results_of(statuses, number))) for number in rounds
        ],
        "rounds": rounds[-1],
        "peers": len(statuses),
        "cohort_min": min(result.cohort for result in results),
        "closed_by": dict(sorted(Counter(result.closed_by for result in results).items())),
        "models": len({status.model_digest for status in statuses}),
        "seconds": rounded(found.seconds),
        "exchange_seconds": rounded(fmean(result.exchange_seconds for result in results)),
        "task": spec.task,
        "partition": spec.partition,
        "seed": spec.seed,
        "parameters": statuses[0].parameters,
        "fragments": statuses[0].fragments,
        "train_samples": max(result.train_samples for result in results),
        "test_samples": max(result.test_samples for result in results),
    }


def rounded(value: float) -> float:
    return round(value, DIGITS)
