from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ctl.churn import Happened, Schedule, Step
from ctl.experiment.churn import picture
from ctl.experiment.churn.curves import Point, as_csv, curves
from peerd.errors import PeerdError

SCHEDULE = Schedule(
    5,
    9,
    (
        Step(2, "join", "erin"),
        Step(3, "kill", "bob"),
        Step(4, "return", "bob"),
        Step(4, "drain", "carol"),
        Step(5, "freeze", "dora", 1.0),
    ),
)


def happen(made: Any) -> None:
    for at, what, peer in (
        (10.2, "joins", "erin"), (11.0, "there", "erin"), (11.2, "killed", "bob"), (11.7, "returns", "bob"),
        (12.2, "back", "bob"), (12.4, "drains", "carol"), (12.9, "left", "carol"), (13.2, "frozen", "dora"),
        (14.2, "thawed", "dora"),
    ):  # fmt: skip
        made.record.happened.append(Happened(at, 2, what, peer))


def test_who_is_active_is_known_from_what_was_done(made: Any) -> None:
    happen(made)
    made.status("alice", 10.0, peers_alive=3)
    made.status("alice", 15.0, peers_alive=3)
    points = {point.seconds: point for point in curves(made.record, SCHEDULE)}
    assert [points[at].active for at in (0.0, 0.5, 1.0, 1.5, 2.5, 3.5, 4.5)] == [4, 4, 5, 4, 4, 3, 4]
    assert points[1.5].events == "bob killed"
    assert points[0.5].events == "erin joins"
    assert points[3.0].events == "carol left"
    assert sum(len(point.events.split("; ")) for point in points.values() if point.events) == 9


def test_what_the_steady_see_is_a_mean(made: Any) -> None:
    schedule = Schedule(3, 5, (Step(2, "kill", "carol"),))
    made.status("carol", 9.5, peers_alive=0)
    made.status("alice", 10.0, peers_alive=2)
    made.status("bob", 10.4, peers_alive=1)
    made.status("alice", 11.0, peers_alive=1)
    points = curves(made.record, schedule)
    assert [point.seen_alive for point in points] == [None, 3.0, 2.5, 2.0, 2.0]
    assert as_csv(points).splitlines()[1] == "0.0,3,,0,0,0,0,0,"


def test_counters_are_sums_that_survive_a_crash(made: Any) -> None:
    made.status("alice", 10.0, resent=5, peer_dead=1)
    made.status("bob", 10.1, resent=2)
    made.status("bob", 10.9, resent=4, cancelled=3)
    made.status("bob", 12.0, life=2, resent=1, gave_up=1)
    points = curves(made.record, Schedule(2, 5))
    assert [point.resent for point in points] == [0, 2, 4, 4, 5, 5]
    assert points[-1].dropped_unacked == 4
    assert (points[-1].peer_dead, points[-1].cancelled, points[-1].gave_up) == (0, 3, 1)
    for before, after in pairwise(points):
        assert before.resent <= after.resent and before.dropped_unacked <= after.dropped_unacked


def test_without_samples_there_is_no_curve(made: Any) -> None:
    assert curves(made.record, SCHEDULE) == []
    assert as_csv([]).splitlines() == [",".join(Point.__dataclass_fields__)]


def test_csv_and_picture(made: Any, tmp_path: Path) -> None:
    happen(made)
    for step in range(12):
        made.status("alice", 10.0 + step / 2, peers_alive=4 - step % 2, resent=step, peer_dead=step // 3)
    points = curves(made.record, SCHEDULE)
    rows = list(csv.DictReader(io.StringIO(as_csv(points))))
    assert len(rows) == len(points)
    assert float(rows[-1]["seconds"]) == points[-1].seconds
    assert rows[-1]["resent"] == "11"
    plot = tmp_path / "churn.png"
    picture.draw(points, made.record.happened, made.record.begun, "title", plot)
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(PeerdError, match="cannot be written"):
        picture.draw(points, [], 0.0, "title", tmp_path / "nowhere" / "x.png")
