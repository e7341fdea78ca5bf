"""Curves: accuracy by round, of what the peers of one run have measured, and what changes with time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from peerd.pb import runs_pb2

LATEST_ROUNDS = 400
POINTS = 600
"""Over time; at one in two seconds, twenty minutes."""
Spread = tuple[float, float, float]
"""The least, the median and the most of the peers."""


class Point(NamedTuple):
    at: float
    rtt_p50: float | None
    rtt_p95: float | None
    entropy: Spread | None


class History:
    """The latest points over time."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=POINTS)

    def add(self, point: Point) -> None:
        self._points.append(point)

    def since(self, now: float) -> list[dict[str, object]]:
        """In order, each with how many seconds ago it was."""
        return [
            {
                "ago": round(now - point.at, 1),
                "rtt_p50": point.rtt_p50,
                "rtt_p95": point.rtt_p95,
                "entropy": point.entropy,
            }
            for point in self._points
        ]


def accuracy_curve(runs: Sequence[runs_pb2.RunStatus]) -> list[dict[str, object]]:
    """Of each closed round: the spread over the peers of the aggregate's accuracy and of their own models',
    and how long it took."""
    rounds: dict[int, list[runs_pb2.RoundResult]] = {}
    for run in runs:
        for result in run.results:
            if result.test_samples:
                rounds.setdefault(result.round, []).append(result)
    return [
        {
            "round": number,
            "aggregated": spread(r.accuracy for r in rounds[number]),
            "local": spread(r.accuracy_local for r in rounds[number] if not r.listened),
            "seconds": spread(r.round_seconds for r in rounds[number]),
            "peers": len(rounds[number]),
        }
        for number in sorted(rounds)[-LATEST_ROUNDS:]
    ]


def spread(values: Iterable[float]) -> Spread | None:
    """None where nothing finite was measured, as by a model that diverged."""
    known = [value for value in values if math.isfinite(value)]
    return (min(known), median(known), max(known)) if known else None
