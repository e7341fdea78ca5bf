"""The experiment: how fast this machine is, the calm run, the run with churn, the files."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.text import Text

from ctl.churn import Happened, Play, Schedule, Screen, measure, paced, play
from ctl.defaults import make_spec
from ctl.experiment.churn import picture
from ctl.experiment.churn.curves import as_csv, curves
from ctl.experiment.churn.record import Record
from ctl.experiment.churn.stage import testbed
from ctl.testbed import Plan
from ctl.watch import View
from peerd.errors import PeerdError
from peerd.types import RunSpec

TASK = "digits-cnn"
UNDRAWN = "0" * 32
ROUND_TIMEOUT = 60.0
JOIN_SECONDS = 5.0
"""Who joins later than that listens first: the late ones are to do so."""


@dataclass(frozen=True, slots=True)
class Setting:
    schedule: Schedule
    hops: int
    grace_seconds: float
    train_seconds: float
    """A round's training is to take about so long."""
    seed: int
    patience: float
    """Seconds for the start of daemons."""
    epochs: int | None = None
    """Local epochs; None: as many as `train_seconds` takes on this machine."""


@dataclass(slots=True)
class Found:
    calm: Record
    churn: Record
    spec: RunSpec
    folder: Path | None
    """Of the churn run, if it was kept."""
    seconds: dict[str, float] = field(default_factory=dict)


def calm_schedule(schedule: Schedule) -> Schedule:
    """All peers from the first round to the last: `figures` says why."""
    return Schedule(schedule.peers, schedule.rounds)


def make_run(setting: Setting) -> RunSpec:
    """As the task's defaults train it, with a part of the data for every peer, late ones too."""
    return make_spec(
        TASK,
        run_id=UNDRAWN,
        rounds=setting.schedule.rounds,
        seed=setting.seed,
        shards=setting.schedule.peers,
        grace_seconds=setting.grace_seconds,
        round_timeout_seconds=ROUND_TIMEOUT,
    )


async def run(setting: Setting, keep: bool, view: View) -> Found:
    """Both runs, one after the other, each in a network of its own that is gone afterwards; with `keep` the
    files of the second one stay. Raises the errors of `peerd.errors` when a run does not come to its end."""
    schedule, seconds, begun = setting.schedule, {}, time.monotonic()
    plan = Plan.make(schedule.peers, hops=setting.hops)
    calm, churn = Record(), Record()
    async with testbed(_folder(), plan, setting.patience, view, "calm", keep=False) as up:
        script = Play(up, plan, calm_schedule(schedule), make_run(setting), JOIN_SECONDS, setting.patience)
        epochs = setting.epochs or await _pace(script, setting, view)
        spec = paced(script.spec, epochs)
        await _play(replace(script, spec=spec), calm, view, "calm: ")
    seconds["calm"] = time.monotonic() - begun
    begun, folder = time.monotonic(), _folder()
    plan = Plan.make(schedule.peers, hops=setting.hops, late=schedule.late)
    async with testbed(folder, plan, setting.patience, view, "churn", keep) as up:
        script = Play(up, plan, schedule, spec, JOIN_SECONDS, setting.patience)
        await _play(script, churn, view, "churn: ")
    seconds["churn"] = time.monotonic() - begun
    return Found(calm, churn, spec, folder if keep else None, seconds)


async def _play(script: Play, record: Record, view: View, label: str) -> None:
    screen = Screen(view, script.testbed.running, script.schedule.steady[0], label, record)

    def tell(happened: Happened) -> None:
        record.happened.append(happened)
        screen.happened(happened)

    await play(script, screen, tell)


async def _pace(script: Play, setting: Setting, view: View) -> int:
    view.draw(lambda: Text("calm: how fast is this machine? ..."))
    epochs = await measure(script, setting.train_seconds)
    view.lines([f"calm: {epochs} local epochs a round, for about {setting.train_seconds:g} s of training"])
    return epochs


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="peerd-churn-"))


def write(found: Found, setting: Setting, plot: Path) -> list[str]:
    """The picture, and the CSV file beside it; their names. PeerdError where they cannot be written."""
    points = curves(found.churn, setting.schedule)
    title = (
        f"A run of {setting.schedule.rounds} rounds while peers come and go ({setting.schedule.peers} peers)"
    )
    picture.draw(points, found.churn.happened, found.churn.begun, title, plot)
    table = plot.with_suffix(".csv")
    try:
        table.write_text(as_csv(points), encoding="utf-8")
    except OSError as error:
        raise PeerdError(f"{table}: cannot be written: {error.strerror}") from None
    return [str(plot), str(table)]
