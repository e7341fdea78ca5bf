"""The three curves as a picture, with what was made to happen marked in all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctl.churn import Happened
from ctl.experiment.churn.curves import Point
from ctl.experiment.plot import BLUE, GREEN, GREY, ORANGE, RED, canvas, save

COLOURS = {
    "there": GREEN, "back": GREEN, "thawed": GREEN, "drains": ORANGE, "left": ORANGE, "killed": RED,
    "frozen": RED,
}  # fmt: skip
"""Of the marks; what is only being started has none."""
CLOSE = 0.02
"""Marks nearer to each other than this share of the time would have their names on one another."""
LEVEL = 0.09
"""By so much of the panel's height the second name stands higher."""


def draw(points: Sequence[Point], happened: Sequence[Happened], begin: float, title: str, path: Path) -> None:
    """One PNG with three panels that share the time. `begin`: the Unix time of 0. PeerdError where it cannot
    be written."""
    figure = canvas(11.0, 8.0)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    seconds = [point.seconds for point in points]
    top.step(seconds, [p.active for p in points], where="post", color=BLUE, label="daemons that take part")
    seen = [math.nan if p.seen_alive is None else p.seen_alive for p in points]
    top.plot(seconds, seen, color=ORANGE, linewidth=1.2,
             label="as the steady peers see it, mean")  # fmt: skip
    top.set_ylabel("active peers")
    top.set_ylim(bottom=0.0)
    middle.plot(seconds, [p.resent for p in points], color=BLUE, label="resent")
    middle.set_ylabel("packets resent, sum")
    bottom.stackplot(
        seconds,
        [p.peer_dead for p in points],
        [p.cancelled for p in points],
        [p.gave_up for p in points],
        colors=[RED, GREY, ORANGE],
        labels=["recipient dead or left", "round over", "given up after all attempts"],
    )
    bottom.set_ylabel("dropped unacked, sum")
    bottom.set_xlabel("seconds")
    for axis in (top, middle, bottom):
        axis.grid(color="#e3e5e8", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="upper left", frameon=False)
        _mark(axis, happened, begin)
    _name(top, happened, begin)
    figure.suptitle(title, fontsize=12)
    save(figure, path)


def _marks(happened: Sequence[Happened], begin: float) -> list[tuple[float, Happened, str]]:
    return [(h.at - begin, h, COLOURS[h.what]) for h in happened if h.what in COLOURS]


def _mark(axis: Any, happened: Sequence[Happened], begin: float) -> None:
    for seconds, _, colour in _marks(happened, begin):
        axis.axvline(seconds, color=colour, linestyle=":", linewidth=1.1)


def _name(axis: Any, happened: Sequence[Happened], begin: float) -> None:
    """Above the panel, each beside its line; what would lie on the one before it stands higher."""
    marks = _marks(happened, begin)
    close = CLOSE * max((seconds for seconds, _, _ in marks), default=0.0)
    before, level = -close, 0
    for seconds, one, colour in marks:
        level = level + 1 if seconds - before < close else 0
        before = seconds
        axis.text(seconds, 1.02 + LEVEL * level, f"{one.peer} {one.what}", color=colour, fontsize=7.5,
                  rotation=35, ha="left", va="bottom", transform=axis.get_xaxis_transform())  # fmt: skip
