"""The same run once for each aggregator and attack."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ctl.defaults import make_spec
from ctl.experiment.poison.report import line
from ctl.experiment.series import QUIET, Measured, play_all
from ctl.testbed import Plan
from ctl.watch import View
from peerd.config import PeerdConfig, TrainingConfig
from peerd.errors import InvalidInputError
from peerd.presets import TASK_DEFAULTS
from peerd.types import RunSpec

TASK = "peerd.training.poisoned:make"
AGGREGATORS = ("mean", "median", "trimmed-mean", "clipped-mean", "krum")
"""weighted-by-age is the mean where nothing is late."""
ATTACKS = ("none", "sign-flip", "noise")
UNDRAWN = "0" * 32
BELOW_HALF = 0.5 - 2**-20
"""As much as can be trimmed on each side."""
ROUND_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Setting:
    task: str
    """A shipped one."""
    data_dir: str | None
    peers: int
    poisoners: int
    scale: float
    """0: the attack's own."""
    rounds: int
    hops: int
    seed: int
    aggregators: tuple[str, ...]
    attacks: tuple[str, ...]
    patience: float
    """Seconds for the start of daemons."""


def make_plan(setting: Setting) -> Plan:
    config = PeerdConfig(training=TrainingConfig(tasks=(TASK,)))
    return Plan.make(setting.peers, config, hops=setting.hops, **QUIET)


def make_specs(setting: Setting) -> dict[tuple[str, str], RunSpec]:
    """By aggregator and attack. Aggregators that are told how many are false are told the truth."""
    if not 0 < setting.poisoners < setting.peers / 2:
        raise InvalidInputError(
            f"--poisoners {setting.poisoners}: at least one and fewer than half of {setting.peers} peers"
        )
    if setting.task not in TASK_DEFAULTS:
        raise InvalidInputError(f"--task {setting.task!r}: allowed: {', '.join(TASK_DEFAULTS)}")
    return {
        (aggregator, attack): make_spec(
            TASK,
            run_id=UNDRAWN,
            data_dir=setting.data_dir,
            rounds=setting.rounds,
            seed=setting.seed,
            shards=setting.peers,
            round_timeout_seconds=ROUND_TIMEOUT,
            aggregator=aggregator,
            trim=min((setting.poisoners + 0.5) / setting.peers, BELOW_HALF),
            task_options={
                "task": setting.task,
                "attack": attack,
                "poisoners": str(setting.poisoners),
                "scale": f"{setting.scale:g}",
            },
            **TASK_DEFAULTS[setting.task],
        )
        for aggregator in setting.aggregators
        for attack in setting.attacks
    }


async def run(setting: Setting, view: View) -> dict[tuple[str, str], Measured]:
    """By aggregator and attack. Raises the errors of `peerd.errors` when a run does not come to its end."""
    folder = Path(tempfile.mkdtemp(prefix="peerd-poison-"))
    specs = make_specs(setting)
    named = {f"{aggregator}, {attack}": spec for (aggregator, attack), spec in specs.items()}
    found = await play_all(named, make_plan(setting), folder, setting.patience, view, line)
    return dict(zip(specs, found.values(), strict=True))
