"""The picture: bytes on links and accuracy, encoding by encoding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctl.experiment.plot import BLUE, GREY, ORANGE, canvas, save

MEGA = 1e6


def draw(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One PNG with two panels that share their rows. PeerdError where it cannot be written."""
    names = list(rows)
    places = list(range(len(names)))
    figure = canvas(11.0, 1.8 + 0.42 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    run = [row["bytes_on_links"] / MEGA for row in rows.values()]
    beside = [row["bytes_beside"] / MEGA for row in rows.values()]
    left.barh(places, run, color=BLUE, height=0.5, label="of the run")
    left.barh(places, beside, left=run, color=GREY, height=0.5, label="keepalive and gossip beside it")
    left.set_xlabel("MB on links")
    for place, row in zip(places, rows.values(), strict=True):
        if row["ratio"] is not None:
            left.annotate(f" {row['ratio']:.1f} x fewer", (run[place] + beside[place], place), va="center")
    left.margins(x=0.2)
    right.scatter([row["accuracy"] for row in rows.values()], places, color=ORANGE, s=40)
    right.set_xlabel("accuracy of the aggregate, after the last round")
    right.margins(x=0.2)
    left.set_yticks(places, names)
    left.invert_yaxis()
    for axis in (left, right):
        axis.grid(axis="x", color="#e3e5e8", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(loc="lower right", frameon=False)
    first = next(iter(rows.values()))
    figure.suptitle(
        f"A run of {first['task']} in each encoding: {first['peers']} peers, {first['rounds']} rounds, "
        f"{first['hops']} mix nodes",
        fontsize=12,
    )
    save(figure, path)
