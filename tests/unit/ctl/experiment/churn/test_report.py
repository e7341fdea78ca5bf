from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ctl.churn import Happened, Schedule, Step
from ctl.experiment.churn import report
from ctl.experiment.churn.record import Record
from ctl.experiment.churn.report import ranges
from ctl.experiment.churn.run import Found, Setting, make_run

ISSUE = {
    "rounds", "survivors_completed_all", "max_wait_after_death_seconds", "accuracy", "accuracy_calm",
    "gave_up_to_living",
}  # fmt: skip
SETTING = Setting(
    Schedule(4, 3, (Step(2, "join", "dora"), Step(2, "kill", "carol"))), 1, 5.0, 1.0, seed=1, patience=1.0
)


@pytest.fixture
def found(made: Any, maker: Any) -> Found:
    calm = maker()
    for name in ("alice", "bob", "carol", "dora"):
        for number in range(1, 4):
            calm.closes(name, number, 10.0 * number, 1.0, accuracy=0.3 * number)
    for name in ("alice", "bob"):
        for number in range(1, 4):
            made.closes(name, number, 10.0 * number, 1.0, accuracy=0.295 * number)
        made.says(name, 40.0, 1, "finished")
        made.status(name, 5.0, gave_up=1)
    made.event("alice", 14.0, "carol", "dead")
    made.record.happened.append(Happened(13.0, 2, "killed", "carol"))
    made.closes("dora", 2, 20.0, 1.0, contributes_from=0, listened=True)
    made.closes("dora", 3, 30.0, 1.0, contributes_from=3, accuracy=0.885)
    made.says("dora", 40.0, 3, "finished")
    return Found(calm.record, made.record, make_run(SETTING), None, {"calm": 60.0, "churn": 70.0})


def test_the_json_has_what_the_issue_asks_for(found: Found) -> None:
    result = report.whole(found, SETTING, ["churn.png"])
    assert result.keys() >= ISSUE
    assert (result["rounds"], result["survivors_completed_all"], result["gave_up_to_living"]) == (3, True, 2)
    assert (result["accuracy"], result["accuracy_calm"]) == (0.885, 0.9)
    assert result["within_a_point"] is False
    assert result["max_wait_after_death_seconds"] == 1.0
    assert (result["longest_wait"], result["within_grace"]) == ({"peer": "alice", "round": 2}, True)
    assert result["late_joiners"][0]["contributes_from"] == 3
    assert result["accuracy_per_round"]["calm"] == [0.3, 0.6, 0.9]
    assert [(e["seconds"], e["by"], e["what"]) for e in result["events"]] == [
        (8.0, "experiment", "killed"), (9.0, "alice", "dead"),
    ]  # fmt: skip
    json.dumps(result, allow_nan=False)


def test_a_run_of_which_nothing_is_known_is_no_success() -> None:
    empty = Found(Record(), Record(), make_run(SETTING), None)
    result = report.whole(empty, SETTING, [])
    assert (result["survivors_completed_all"], result["accuracy"]) == (False, None)
    assert result["max_wait_after_death_seconds"] == 0.0
    assert "NOT all: alice, bob, dora missed rounds" in shown(result)


def shown(result: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(report.shown(result))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_tables(found: Found) -> None:
    text = " ".join(shown(report.whole(found, SETTING, ["churn.png"])).split())
    for words in (
        "survivors closed every round", "longest wait after a death 1.0 s, of alice in round 2 (grace 5.0 s)",
        "final accuracy 0.8850, calm 0.9000", "alice steady 1-3", "dora join 2-3 2", "dora 2 3 0.8850 0.8850",
        "Wrote churn.png", "Note: the calm run has all peers",
    ):  # fmt: skip
        assert words in text, words


@given(st.sets(st.integers(1, 30)))
def test_ranges_name_every_number_once(numbers: set[int]) -> None:
    named: list[int] = []
    for part in ranges(sorted(numbers)).split(", "):
        if part:
            first, _, last = part.partition("-")
            named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)
