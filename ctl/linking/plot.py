"""The picture: single links above, whole updates below, a column for each partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctl.experiment.plot import BLUE, GREEN, GREY, ORANGE, RED, canvas, save

LINKS = (("shadows.if_there", "same round", BLUE), ("across.if_there", "next round", ORANGE),
         ("attribution.if_there", "a target's, whose data are known", RED))  # fmt: skip
PARTS = (("held.update", "received", GREY), ("assembled.update", "put together by links", BLUE),
         ("attribution.update", "a target's, named", RED))  # fmt: skip


def draw(result: Mapping[str, Any], path: Path) -> None:
    """One PNG. PeerdError where it cannot be written."""
    partitions = list(dict.fromkeys(row["partition"] for row in result["rows"]))
    sent = list(dict.fromkeys(row["sent"] for row in result["rows"]))
    figure = canvas(1.5 + 4.0 * len(partitions), 3.4 + 0.7 * len(sent))
    axes = figure.subplots(2, len(partitions), sharey=True, squeeze=False)
    for column, partition in enumerate(partitions):
        rows = [row for row in result["rows"] if row["partition"] == partition]
        above, below = axes[0][column], axes[1][column]
        _bars(above, rows, LINKS)
        _marks(above, rows, "attribution.chance", "chance")
        _bars(below, rows, PARTS)
        _marks(below, rows, "drawn.update", "by drawn links")
        above.set_title(partition)
        above.set_xlabel("links that are right, where there is one")
        below.set_xlabel("part of one sender's update")
    for line in axes:
        line[0].set_yticks(range(len(sent)), sent)
        line[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes[0][0].invert_yaxis()  # of all: they share it
    figure.suptitle(f"What a curious recipient links: {result['task']}, {result['peers']} peers")
    save(figure, path)


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], kinds: Sequence[tuple[str, str, str]]) -> None:
    height = 0.8 / len(kinds)
    for place, (name, label, colour) in enumerate(kinds):
        found = [(at, row["figures"][name]) for at, row in enumerate(rows) if name in row["figures"]]
        places = [at - 0.4 + (place + 0.5) * height for at, _ in found]
        axis.barh(places, [one["mean"] for _, one in found], height=height, color=colour, label=label)
        spans = [0.0 if one["low"] is None else one["mean"] - one["low"] for _, one in found]
        axis.errorbar([one["mean"] for _, one in found], places, xerr=spans, fmt="none", ecolor="black",
                      linewidth=0.8)  # fmt: skip
    axis.set_xlim(0.0, 1.05)
    axis.spines[["top", "right"]].set_visible(False)


def _marks(axis: Any, rows: Sequence[Mapping[str, Any]], name: str, label: str) -> None:
    found = [(row["figures"][name]["mean"], at) for at, row in enumerate(rows) if name in row["figures"]]
    if found:
        axis.scatter(*zip(*found, strict=True), marker="|", s=300, color=GREEN, linewidths=2.0, zorder=3,
                     label=label)  # fmt: skip
