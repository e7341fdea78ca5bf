"""All rows, one after the other, with progress; and the files that come of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from ctl import aio
from ctl.experiment import plot as picture
from ctl.experiment.attack import Attack, run_row
from ctl.experiment.kernels import Timing
from ctl.experiment.report import Frame, as_csv
from ctl.experiment.testbed import TIMING, watch_daemons
from ctl.experiment.workload import Watched, Workload, simulate
from ctl.watch import View
from peerd.config import MixingConfig
from peerd.errors import PeerdError


def run(frame: Frame, rows: Mapping[str, MixingConfig], patience: float, shown: View) -> dict[str, Any]:
    """The figures of each row, by its name. `patience`: seconds for the start of daemons."""
    timing = TIMING if frame.source == "testbed" else Timing()
    attack = Attack(frame.peers, frame.corrupt, frame.seed, timing)
    found: dict[str, Any] = {}
    for number, (name, mixing) in enumerate(rows.items(), 1):
        label = f"[{number}/{len(rows)}] {name}"
        begun = time.monotonic()

        def say(text: str, label: str = label) -> None:
            shown.draw(lambda: Text(f"{label}: {text} ..."))

        watched = _watch(frame, mixing, patience, shown, say)
        say(f"tracing {watched.seen.cells} cells")
        found[name] = row = run_row(mixing, watched, attack)
        took = f"{time.monotonic() - begun:.0f} s"
        shown.lines([f"{label}: guessed {row['guess_rate']:.3f} of {row['challenges']} fragments, {took}"])
    shown.draw(None)
    return found


def _watch(
    frame: Frame, mixing: MixingConfig, patience: float, shown: View, say: Callable[[str], None]
) -> Watched:
    if frame.fragments is not None:
        return simulate(mixing, Workload(frame.peers, frame.rounds, frame.fragments, seed=frame.seed), say)
    folder = Path(tempfile.mkdtemp(prefix="peerd-attack-"))
    return aio.run(watch_daemons(mixing, frame.peers, frame.rounds, frame.seed, folder, patience, shown))


def write(result: Mapping[str, Any], plot: Path) -> list[str]:
    """The picture, and the CSV file beside it; their names. PeerdError where they cannot be written."""
    picture.draw(result, plot)
    table = plot.with_suffix(".csv")
    try:
        table.write_text(as_csv(result["strategies"]), encoding="utf-8")
    except OSError as error:
        raise PeerdError(f"{table}: cannot be written: {error.strerror}") from None
    return [str(plot), str(table)]
