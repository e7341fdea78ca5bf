"""How samples are divided among peers, for people: a table, and a picture of stacked bars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ctl import render
from ctl.experiment.plot import canvas, save

MOST_CLASSES = 20
"""With a column, or an entry in the legend, of their own."""
COLORS = ("#2b6ca3", "#d9822b", "#3a8f5c", "#b8403a", "#7a5ba6", "#8c6d4f", "#c97bb0", "#8a8f98", "#b3b03c",
          "#45a5b5")  # fmt: skip


def table(divided: Mapping[str, Any]) -> Table:
    """A row for each shard, a column for each class; `classes#` where there are too many."""
    classes = divided["classes"]
    wide = 0 < classes <= MOST_CLASSES
    heads = [f"{label}#" for label in range(classes)] if wide else ["Classes#"] * bool(classes)
    rows = []
    for number, shard in enumerate(divided["shards"]):
        counts = shard["by_class"]
        seen = [count or "." for count in counts] if wide else [sum(map(bool, counts))] * bool(classes)
        rows.append((number, shard["samples"], *seen))
    return render.table(("Shard#", "Samples#", *heads), rows)


def draw(divided: Mapping[str, Any], path: Path) -> None:
    """One PNG: a bar for each shard, its classes one after another. PeerdError where it cannot be written."""
    shards = divided["shards"]
    figure = canvas(9.0, min(1.8 + 0.3 * len(shards), 40.0))
    axis = figure.subplots()
    places = list(range(len(shards)))
    left = [0] * len(shards)
    for label in range(divided["classes"] or 1):
        widths = [shard["by_class"][label] if divided["classes"] else shard["samples"] for shard in shards]
        axis.barh(places, widths, left=left, color=COLORS[label % len(COLORS)], label=str(label))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    if 0 < divided["classes"] <= MOST_CLASSES:
        axis.legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axis.set_yticks(places)
    axis.invert_yaxis()
    axis.set_ylabel("shard")
    axis.set_xlabel("training samples")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"{divided['task']}, {divided['partition']}, seed {divided['seed']}")
    save(figure, path)
