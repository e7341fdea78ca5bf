"""The three curves of the specification over time: active peers, resent, dropped unacked. And their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean

from ctl.churn import Happened, Schedule
from ctl.experiment.churn.record import UNACKED, Record

STEP_SECONDS = 0.5
_CHANGES = {"there": 1, "back": 1, "thawed": 1, "killed": -1, "frozen": -1, "drains": -1}
"""How many peers more are active."""


@dataclass(frozen=True, slots=True)
class Point:
    """Counters are sums over all peers since the beginning; a daemon that has gone keeps what it had."""

    seconds: float
    active: int
    """Daemons that run and are neither frozen nor draining: the truth."""
    seen_alive: float | None
    """Oneself and the others seen alive, mean over the steady peers: what the network knows of it. None
    before the first of them has said so."""
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


_REASONS = tuple(reason.value for reason in UNACKED)


def curves(record: Record, schedule: Schedule) -> list[Point]:
    """Twice a second, from the first sample to the last."""
    moments = [sample.at for samples in record.samples.values() for sample in samples]
    if not moments:
        return []
    begin, end = min(moments), max(moments)
    counted = _counters(record, begin)
    points = []
    for number in range(int((end - begin) / STEP_SECONDS) + 2):
        at, before = begin + number * STEP_SECONDS, begin + (number - 1) * STEP_SECONDS
        now = {name: value - counted[name] for name, value in _counters(record, at).items()}
        happened = [h for h in record.happened if (before < h.at or not number) and h.at <= at]
        points.append(
            Point(
                seconds=number * STEP_SECONDS,
                active=_active(record.happened, schedule, at),
                seen_alive=_seen(record, schedule, at),
                resent=now["resent"],
                dropped_unacked=sum(now[reason] for reason in _REASONS),
                peer_dead=now["peer_dead"],
                cancelled=now["cancelled"],
                gave_up=now["gave_up"],
                events="; ".join(f"{h.peer} {h.what}" for h in happened),
            )
        )
    return points


def _counters(record: Record, at: float) -> dict[str, int]:
    """The sums over all peers and their lives, as last heard before that time."""
    latest = list(record.latest(at))
    sums = {reason: sum(sample.unacked[reason] for sample in latest) for reason in _REASONS}
    return {"resent": sum(sample.resent for sample in latest), **sums}


def _active(happened: Sequence[Happened], schedule: Schedule, at: float) -> int:
    started = schedule.peers - len(schedule.late)
    return started + sum(_CHANGES.get(h.what, 0) for h in happened if h.at <= at)


def _seen(record: Record, schedule: Schedule, at: float) -> float | None:
    seen = [s.alive for name in schedule.steady if (s := record.latest_of(name, at)) is not None]
    return fmean(seen) + 1 if seen else None


def as_csv(points: Sequence[Point]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    return text.getvalue()
