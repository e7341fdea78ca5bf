"""Runs side by side: what a peer remembers of them, or what `peerctl run show --output json` has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ctl.experiment.plot import canvas, save
from ctl.text import one_line
from peerd.errors import InvalidInputError
from peerd.reading import read_bounded

MAX_FILE_BYTES = 64 << 20
COLORS = ("#2b6ca3", "#d9822b", "#3a8f5c", "#b8403a", "#7a5ba6", "#8c6d4f", "#c97bb0", "#8a8f98")


class Spec(msgspec.Struct, frozen=True):
    run_id: str
    task: str
    encoding: str = "float32"
    aggregator: str = "mean"


class Result(msgspec.Struct, frozen=True):
    round: int
    accuracy: float | None = None
    """None where it was no number."""
    test_samples: int = 0
    round_seconds: float | None = None
    fragments_received: int = 0


class Status(msgspec.Struct, frozen=True):
    """Of a RunStatus what is compared."""

    spec: Spec
    results: tuple[Result, ...] = ()
    state: str = ""
    ended_by: str = ""
    payload_bytes: int = 0


class Run(msgspec.Struct, frozen=True):
    """One column, one line."""

    name: str
    run_id: str
    task: str
    encoding: str
    aggregator: str
    state: str
    ended_by: str
    rounds: int
    """Closed and measured."""
    best_accuracy: float | None
    best_round: int
    final_accuracy: float | None
    seconds_per_round: float | None
    bytes_received: int | None
    """In fragments; None where it is not known."""
    accuracy: dict[int, float]
    """By round."""


def from_file(path: Path) -> list[Run]:
    """One run for each peer in it. NotFoundError, InvalidInputError."""
    data = read_bounded(path, MAX_FILE_BYTES, "results of a run")
    try:
        value = msgspec.json.decode(data)
        if isinstance(value, dict) and "spec" not in value:
            return [run_of(one, f"{path.stem}:{one_line(name)}") for name, one in value.items()]
        return [run_of(value, path.stem)]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{path}: not what `peerctl run show --output json` writes: {error}"
        ) from None


def run_of(value: Any, name: str) -> Run:
    """From the plain data of a RunStatus. Raises msgspec.ValidationError."""
    status = msgspec.convert(value, Status)
    measured = [one for one in status.results if one.test_samples and one.accuracy is not None]
    accuracy = {one.round: one.accuracy for one in measured if one.accuracy is not None}
    best = max(accuracy, key=lambda number: accuracy[number], default=0)
    seconds = [one.round_seconds for one in measured if one.round_seconds]
    received = sum(one.fragments_received for one in status.results) * status.payload_bytes
    return Run(
        name=name,
        run_id=status.spec.run_id,
        task=status.spec.task,
        encoding=status.spec.encoding,
        aggregator=status.spec.aggregator,
        state=status.state,
        ended_by=status.ended_by,
        rounds=len(measured),
        best_accuracy=accuracy.get(best),
        best_round=best,
        final_accuracy=accuracy[max(accuracy)] if accuracy else None,
        seconds_per_round=sum(seconds) / len(seconds) if seconds else None,
        bytes_received=received if status.payload_bytes else None,
        accuracy=accuracy,
    )


def draw(runs: Sequence[Run], path: Path) -> None:
    """One PNG: accuracy over rounds, a line for each run. PeerdError where it cannot be written."""
    figure = canvas(8.0, 5.0)
    axis = figure.subplots()
    for number, run in enumerate(runs):
        rounds = sorted(run.accuracy)
        label = f"{run.name}: {run.task}, {run.encoding}, {run.aggregator}"
        values = [run.accuracy[one] for one in rounds]
        axis.plot(rounds, values, marker="o", ms=3, color=COLORS[number % len(COLORS)], label=label)
    axis.set_xlabel("round")
    axis.set_ylabel("accuracy")
    axis.grid(color="#e3e5e8", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)
