"""The runs themselves: each announced, followed to its end, and waited for until its last message is home."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctl import churn
from ctl.churn import Play, Schedule, Screen, Silence
from ctl.experiment.churn.stage import testbed
from ctl.experiment.series.traffic import Traffic, settled
from ctl.testbed import Plan, Testbed
from ctl.watch import View
from peerd.pb import runs_pb2
from peerd.types import RunSpec

JOIN_SECONDS = 60.0
"""Everybody hears of a run within a second or so and begins with its first round."""
HOME_SECONDS = 60.0
"""For the last acknowledgements of a run."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run."""

    runs: Mapping[str, runs_pb2.RunStatus]
    """The last status of it, by peer."""
    traffic: Traffic
    """From before its announcement until its last message was acknowledged."""
    seconds: float
    """From its announcement until all peers had finished."""


async def play_all(
    specs: Mapping[str, RunSpec],
    plan: Plan,
    folder: Path,
    patience: float,
    view: View,
    done: Callable[[str, Measured], str],
) -> dict[str, Measured]:
    """All runs, in order, by the peers of one testbed in `folder`, which is gone afterwards; their run ids
    are drawn. `done`: a line for people when one has ended.

    Raises the errors of `peerd.errors` as soon as one does not come to its end. No process is left.
    """
    found: dict[str, Measured] = {}
    async with testbed(folder, plan, patience, view, "testbed", keep=False) as up:
        for name, spec in specs.items():
            found[name] = await _play(up, plan, name, spec, patience, view)
            view.lines([f"{name}: {done(name, found[name])}"])
    return found


async def _play(up: Testbed, plan: Plan, name: str, spec: RunSpec, patience: float, view: View) -> Measured:
    schedule = Schedule(plan.peers, spec.rounds)
    before = await up.while_alive(settled(up.endpoints, HOME_SECONDS))
    begun = time.monotonic()
    screen = Screen(view, up.running, schedule.steady[0], f"{name}: ", Silence())
    runs = await churn.play(
        Play(up, plan, schedule, spec, JOIN_SECONDS, patience), screen, lambda happened: None
    )
    seconds = time.monotonic() - begun
    after = await up.while_alive(settled(up.endpoints, HOME_SECONDS))
    return Measured(runs, after.since(before), seconds)
