"""The play itself: bring peers up, let them train, collect what they report, end them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.text import Text

from ctl import churn
from ctl.demo.agreement import Agreement, read_agreement
from ctl.fanout import Answers, fan_out
from ctl.targets import CONTEXTS_FILE
from ctl.testbed import Plan, Testbed, bring_up
from ctl.text import number_of
from ctl.watch import View, watch
from peerd.errors import PeerdError
from peerd.membership import run_spec_message
from peerd.pb import node_pb2, runs_pb2
from peerd.types import RunSpec

T = TypeVar("T")
CALL_SECONDS = 30.0
CHECKPOINT_SECONDS = 30.0
JOIN_SECONDS = 5.0
"""Who joins later than that listens first: the late ones are to do so."""
PACED_TASK = "digits-cnn"
"""So small that a run is over before a daemon has started."""
TRAIN_SECONDS = 2.5
"""Of its training in a round, when peers come and go."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is to be played, all of it checked."""

    plan: Plan
    spec: RunSpec
    """Its run id is drawn anew."""
    folder: Path
    """New or empty; gone at the end unless `keep`."""
    keep: bool
    patience: float
    """Seconds for start-up."""
    churn: churn.Schedule | None = None
    """What happens meanwhile; None: nothing."""


@dataclass(slots=True)
class Outcome:
    """Of the peers that were there at the end."""

    nodes: dict[str, node_pb2.NodeStatus]
    runs: dict[str, runs_pb2.RunStatus]
    agreement: Agreement
    happened: list[churn.Happened] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the wall time: start, run, collect, stop."""


class _Watchclock:
    """Splits the time since it was made into named pieces."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.pieces: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.pieces[name] = now - self._last
        self._last = now


async def play(script: Script, view: View) -> Outcome:
    """From nothing to the peers' reports. Raises the errors of `peerd.errors`: PeerExitedError when a
    daemon ends by itself, PeerdError when the run fails on a peer.

    Whatever happens, no process is left, and no file; with `keep` both stay after success, and the
    files, which are the logs, after failure.
    """
    clock = _Watchclock()
    view.draw(lambda: Text(f"starting {script.plan.peers - len(script.plan.late)} peers ..."))

    def progress(text: str, complete: bool) -> None:
        view.draw(lambda: Text(text))
        if complete:
            view.lines([text])

    testbed: Testbed | None = None
    try:
        testbed = await bring_up(script.folder, script.plan, script.patience, progress)
        clock.lap("start")
        if script.churn is None:
            outcome = await testbed.while_alive(_run(testbed, script, view, clock))
        else:
            outcome = await _run_with_churn(testbed, script, script.churn, view, clock)
    except BaseException:
        _end(testbed, script, keep=False)
        raise
    _end(testbed, script, keep=script.keep)
    clock.lap("stop")
    outcome.seconds = clock.pieces
    return outcome


async def _run(testbed: Testbed, script: Script, view: View, clock: _Watchclock) -> Outcome:
    spec = msgspec.structs.replace(script.spec, run_id=secrets.token_hex(16))
    message = run_spec_message(spec)
    _all(await fan_out(testbed.endpoints, lambda c: c.start_run(message), CALL_SECONDS))
    view.lines([f"{len(testbed.peers)} peers train {spec.task} for {number_of(spec.rounds, 'round')}"])
    runs = _all(await watch(testbed.endpoints, CALL_SECONDS, view))
    for name, status in runs.items():
        if status.state != "finished":
            raise PeerdError(f"{name}: the run {status.state}: {status.error or 'no reason given'}")
    clock.lap("run")
    return await _collect(testbed, runs, clock)


async def _run_with_churn(
    testbed: Testbed, script: Script, schedule: churn.Schedule, view: View, clock: _Watchclock
) -> Outcome:
    spec, happened = script.spec, list[churn.Happened]()
    scene = churn.Play(testbed, script.plan, schedule, spec, JOIN_SECONDS, script.patience)
    if spec.task == PACED_TASK:
        view.draw(lambda: Text("how fast is this machine? ..."))
        spec = churn.paced(spec, await churn.measure(scene, TRAIN_SECONDS))
    view.lines(
        [f"{len(testbed.running)} peers train {spec.task} for {number_of(spec.rounds, 'round')}, "
         f"{' and '.join(schedule.late)} are to join them"]
    )  # fmt: skip
    screen = churn.Screen(view, testbed.running, schedule.steady[0], "", churn.Silence())

    def tell(one: churn.Happened) -> None:
        happened.append(one)
        screen.happened(one)

    try:
        runs = await churn.play(replace(scene, spec=spec), screen, tell)
    finally:
        view.draw(None)
    clock.lap("run")
    outcome = await testbed.while_alive(_collect(testbed, runs, clock))
    outcome.happened = happened
    return outcome


async def _collect(testbed: Testbed, runs: dict[str, runs_pb2.RunStatus], clock: _Watchclock) -> Outcome:
    """What the peers of these runs say of themselves and have left."""
    endpoints = [endpoint for endpoint in testbed.endpoints if endpoint.name in runs]
    nodes = _all(await fan_out(endpoints, lambda one: one.status(samples=True), CALL_SECONDS))
    spec = next(iter(runs.values())).spec
    folders = {name: testbed.state_dir(name) for name in runs}
    agreement = await read_agreement(folders, spec.run_id, spec.rounds, CHECKPOINT_SECONDS)
    clock.lap("collect")
    return Outcome(nodes, runs, agreement)


def _all(answers: Answers[T]) -> dict[str, T]:
    """Every peer's answer, or the first peer's error."""
    for failure in answers.bad:
        raise failure.error
    return {answer.name: answer.value for answer in answers.good}


def _end(testbed: Testbed | None, script: Script, keep: bool) -> None:
    """Processes first, then files."""
    if keep:
        return
    if testbed is None:  # `bring_up` has ended what it had started
        with suppress(PeerdError):
            testbed = Testbed.load(script.folder)
    if testbed is not None:
        testbed.down()
        if not script.keep:
            testbed.remove()
    with suppress(OSError):
        script.folder.rmdir()


def how_to_use(folder: Path, names: Sequence[str]) -> list[str]:
    """After `--keep`."""
    return [
        f"The peers go on in {folder} ({folder / CONTEXTS_FILE}):",
        f"    peerctl --testbed {folder} --all status",
        f"    peerctl --testbed {folder} --context {names[0]} mix show",
        f"    peerctl testbed logs --dir {folder}",
        f"    peerctl testbed down --dir {folder} --delete",
    ]
