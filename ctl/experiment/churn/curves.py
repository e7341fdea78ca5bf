"""The three curves of the specification over time: active peers, resent, dropped unacked. And their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean

from ctl.churn import Happened, Schedule
from ctl.experiment.churn.record import Record

STEP_SECONDS = 0.5
_CHANGES = {"there": 1, "back": 1, "thawed": 1, "killed": -1, "frozen": -1, "drains": -1}
"""How many peers more are active."""


@dataclass(frozen=True, slots=True)
class Point:
    """Counters are sums over all peers since the beginning; a daemon that has gone keeps what it had."""

    seconds: float
    active: int
    """Daemons that run and are neither frozen nor draining: the truth."""
    seen_alive: float
    """Oneself and the others seen alive, mean over the steady peers: what the network knows of it."""
    resent: int
    dropped_unacked: int
    """Messages dropped before an acknowledgement came: the sum of the next three."""
    peer_dead: int
    """Because the recipient is dead, or has left."""
    cancelled: int
    """Because their round is over."""
    gave_up: int
    """After all attempts."""
    events: str
    """What was made to happen since the last point."""


def curves(record: Record, schedule: Schedule) -> list[Point]:
    """Twice a second, from the first sample to the last."""
    moments = [sample.at for samples in record.samples.values() for sample in samples]
    if not moments:
        return []
    begin, end = min(moments), max(moments)
    count = int((end - begin) / STEP_SECONDS) + 2
    zero = {reason: record.total(begin, lambda s, r=reason: s.unacked[r]) for reason in _REASONS}
    return [_point(record, schedule, begin, number, zero) for number in range(count)]


_REASONS = ("peer_dead", "cancelled", "gave_up")
