"""The same run once in each encoding, and what is kept alike between them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ctl.defaults import make_spec
from ctl.experiment.encodings.report import line
from ctl.experiment.series import QUIET, Measured, play_all
from ctl.experiment.series.traffic import SELDOM
from ctl.testbed import Plan
from ctl.watch import View
from peerd.config import PeerdConfig
from peerd.types import EncodingName, RunSpec

NAMES: tuple[str, ...] = get_args(EncodingName)
UNDRAWN = "0" * 32
ROUND_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Setting:
    task: str
    data_dir: str | None
    peers: int
    rounds: int
    hops: int
    seed: int
    names: tuple[str, ...]
    patience: float
    """Seconds for the start of daemons."""


def make_plan(setting: Setting) -> Plan:
    """Without cover, and with links that are seldom asked: `series.traffic` says why."""
    return Plan.make(setting.peers, PeerdConfig(link=SELDOM), hops=setting.hops, **QUIET)


def make_specs(setting: Setting) -> dict[str, RunSpec]:
    """The task's defaults; the runs differ in nothing but the encoding."""
    return {
        name: make_spec(
            setting.task,
            run_id=UNDRAWN,
            data_dir=setting.data_dir,
            rounds=setting.rounds,
            seed=setting.seed,
            shards=setting.peers,
            round_timeout_seconds=ROUND_TIMEOUT,
            encoding=name,
        )
        for name in setting.names
    }


async def run(setting: Setting, view: View) -> dict[str, Measured]:
    """By encoding. Raises the errors of `peerd.errors` when a run does not come to its end."""
    folder = Path(tempfile.mkdtemp(prefix="peerd-encodings-"))
    return await play_all(make_specs(setting), make_plan(setting), folder, setting.patience, view, line)
