"""A whole run with churn over stand-in daemons: real processes come and go, what they say is made up."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.churn import Happened, Play, Schedule, Silence, Step, measure, paced, play
from ctl.churn.play import _Progress
from ctl.defaults import make_spec
from ctl.events import Told
from ctl.testbed import Plan, bring_up
from peerd.errors import PeerdError, UnavailableError
from peerd.pb import node_pb2, runs_pb2

SECONDS = 60.0
Left = Callable[[], list[str]]
SCHEDULE = Schedule(
    6,
    12,
    (
        Step(2, "join", "frank"),
        Step(3, "drain", "bob"),
        Step(4, "kill", "carol"),
        Step(5, "freeze", "dora", 0.5),
        Step(7, "return", "carol"),
    ),
)
SPEC = make_spec("digits-cnn", run_id="0" * 32, rounds=SCHEDULE.rounds)


class Ear(Silence):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []
        self.lives: set[tuple[str, int]] = set()
        self.runs: dict[str, runs_pb2.RunStatus] = {}
        self.lost: list[str] = []

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        self.lives.add((name, life))

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        self.runs[name] = status

    def event(self, told: Told) -> None:
        self.heard.append((told.by, told.item.peer, told.item.what))

    def gone(self, name: str) -> None:
        self.lost.append(name)


def quiet(text: str, complete: bool) -> None:
    del text, complete


async def stage(folder: Path, command: tuple[str, ...], schedule: Schedule) -> Play:
    plan = Plan.make(schedule.peers, command=command, hops=1, late=schedule.late)
    testbed = await bring_up(folder, plan, SECONDS, quiet)
    return Play(testbed, plan, schedule, SPEC, 15.0, SECONDS)


async def test_everything_happens_in_its_round(standin: Any, short_path: Path, left_running: Left) -> None:
    standin(**{"": {"pace": 0.6}})
    script = await stage(short_path / "tb", standin.command, SCHEDULE)
    happened: list[Happened] = []
    ear = Ear()
    try:
        runs = await play(script, ear, happened.append)
    finally:
        assert script.testbed.down() == []
    assert set(runs) == {"alice", "carol", "dora", "erin", "frank"}
    assert {run.state for run in runs.values()} == {"finished"}
    (run_id,) = {run.spec.run_id for run in runs.values()}
    assert run_id != SPEC.run_id
    done = {(one.peer, one.what) for one in happened}
    assert done == {
        ("frank", "joins"), ("frank", "there"), ("bob", "drains"), ("bob", "left"), ("carol", "killed"),
        ("dora", "frozen"), ("dora", "thawed"), ("carol", "returns"), ("carol", "back"),
    }  # fmt: skip
    for one in happened:
        planned = [step.round for step in SCHEDULE.steps if step.peer == one.peer]
        assert one.round >= min(planned)
    assert happened == sorted(happened, key=lambda one: one.at)
    assert {("carol", 1), ("carol", 2), ("frank", 1)} <= ear.lives
    assert sorted(ear.lost) == ["bob", "carol"]
    for words in (("alice", "carol", "dead"), ("alice", "bob", "left"), ("erin", "frank", "alive")):
        assert words in ear.heard
    assert [result.round for result in runs["alice"].results] == list(range(1, 13))
    assert next(result for result in runs["frank"].results).listened
    assert left_running() == []


async def test_one_that_never_hears_of_the_run_is_named(
    standin: Any, short_path: Path, monkeypatch: pytest.MonkeyPatch, left_running: Left
) -> None:
    monkeypatch.setattr(sys.modules[play.__module__], "HEARD_SECONDS", 1.0)
    standin(**{"": {"pace": 5.0}, "carol": {"silent": 1}})
    script = await stage(short_path / "tb", standin.command, Schedule(4, 12))
    try:
        with pytest.raises(UnavailableError, match="carol did not hear of the run within 1 s"):
            await play(script, Silence(), lambda one: None)
    finally:
        script.testbed.down()
    assert left_running() == []


async def test_a_run_that_stands_still_or_fails_is_given_up(
    standin: Any, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[play.__module__], "STILL_SECONDS", 1.0)
    standin(bob={"hang": 1})
    script = await stage(short_path / "tb", standin.command, Schedule(3, 2))
    try:
        with pytest.raises(UnavailableError, match=r"the run stands still in round [0-9]+"):
            await play(script, Silence(), lambda one: None)
    finally:
        script.testbed.down()
        script.testbed.remove()
    standin(bob={"fail_run": 1})
    script = await stage(short_path / "tb", standin.command, Schedule(3, 2))
    try:
        with pytest.raises(PeerdError, match="bob: the run failed: no data left"):
            await play(script, Silence(), lambda one: None)
    finally:
        script.testbed.down()


async def test_a_run_that_failed_before_anybody_waited_has_failed() -> None:
    progress = _Progress(Schedule(3, 2), Silence())
    for name in ("alice", "bob", "carol"):
        state, error = ("failed", "no data left") if name == "bob" else ("finished", "")
        progress.run(name, runs_pb2.RunStatus(state=state, error=error, round=2), 0.0)
    assert progress.ended == {"alice", "bob", "carol"}
    with pytest.raises(PeerdError, match="bob: the run failed: no data left"):
        await progress.wait(lambda: len(progress.ended) == 3)
    with pytest.raises(PeerdError, match="bob: the run failed: no data left"):
        await progress.reached(2)


async def test_a_run_that_is_over_before_a_step_is_a_failure(standin: Any, short_path: Path) -> None:
    script = await stage(
        short_path / "tb", standin.command, Schedule(4, SPEC.rounds, (Step(SPEC.rounds + 1, "kill", "bob"),))
    )
    try:
        with pytest.raises(PeerdError, match="the run has ended before round 13"):
            await play(script, Silence(), lambda one: None)
    finally:
        script.testbed.down()


async def test_one_that_does_not_drain_is_a_failure(standin: Any, short_path: Path) -> None:
    standin(**{"": {"pace": 0.3}, "bob": {"clinging": 1}})
    script = await stage(short_path / "tb", standin.command, Schedule(4, 12, (Step(2, "drain", "bob"),)))
    try:
        with pytest.raises(PeerdError, match="bob did not leave politely: bob: timeout, 2 own messages"):
            await play(script, Silence(), lambda one: None)
    finally:
        script.testbed.down()


async def test_cancelled_while_a_peer_is_frozen_nothing_is_left(
    standin: Any, short_path: Path, left_running: Left
) -> None:
    standin(**{"": {"pace": 0.3}})
    script = await stage(
        short_path / "tb", standin.command, Schedule(4, 1000, (Step(2, "freeze", "bob", 1000.0),))
    )
    frozen = asyncio.Event()
    work = asyncio.create_task(play(script, Silence(), lambda one: frozen.set()))
    try:
        async with asyncio.timeout(SECONDS):
            await frozen.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    finally:
        assert script.testbed.down() == []
    assert left_running() == []


async def test_the_pace_is_measured(standin: Any, short_path: Path) -> None:
    standin(**{"": {"pace": 0.4}})
    script = await stage(short_path / "tb", standin.command, Schedule(3, 9))
    try:
        assert await measure(script, 2.0) == 50  # the stand-in trains for half its pace, 0.2 s for 5 epochs
        assert await measure(script, 0.01) == SPEC.local_epochs
        assert await measure(script, 1e6) == 1_000
    finally:
        script.testbed.down()


def test_more_epochs_have_less_effect_each() -> None:
    slow = paced(SPEC, 50)
    assert slow.local_epochs * slow.learning_rate == pytest.approx(SPEC.local_epochs * SPEC.learning_rate)
    assert (slow.rounds, slow.task) == (SPEC.rounds, SPEC.task)
