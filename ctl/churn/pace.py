"""Rounds that last a few seconds on any machine, so that daemons can come and go between them."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import msgspec

from ctl.churn.director import Happened
from ctl.churn.observer import Silence
from ctl.churn.play import Play, play
from ctl.churn.schedule import Schedule
from peerd.types import RunSpec

ROUNDS = 2
"""The first one is slow: everything is loaded then."""
MAX_EPOCHS = 1_000


def paced(spec: RunSpec, epochs: int) -> RunSpec:
    """With so many local epochs, each of as much less effect: Adam goes about as far in a round as before."""
    rate = spec.learning_rate * spec.local_epochs / epochs
    return msgspec.structs.replace(spec, local_epochs=epochs, learning_rate=rate)


async def measure(script: Play, seconds: float) -> int:
    """How many local epochs make a round's training last so long here, with all started peers training at
    once: from a short run, as the script's but without anything that happens."""
    schedule = Schedule(script.schedule.peers - len(script.schedule.late), ROUNDS)
    spec = msgspec.structs.replace(script.spec, rounds=ROUNDS)
    runs = await play(replace(script, schedule=schedule, spec=spec), Silence(), _nothing)
    trained = fmean(result.train_seconds for run in runs.values() for result in run.results[-1:])
    per_epoch = trained / spec.local_epochs
    if per_epoch * MAX_EPOCHS <= seconds:
        return MAX_EPOCHS
    return max(round(seconds / per_epoch), spec.local_epochs)


def _nothing(happened: Happened) -> None:
    del happened
