"""The picture: how often the sender is guessed, and how many bits of doubt are left, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peerd.errors import NotFoundError, PeerdError

BLUE, ORANGE, GREY, GREEN, RED = "#2b6ca3", "#d9822b", "#8a8f98", "#3a8f5c", "#b8403a"


def check_matplotlib(otherwise: str = "say --no-plot") -> None:
    """Before anything is computed. NotFoundError says how to get it, or how to do without."""
    if find_spec("matplotlib") is None:
        raise NotFoundError(f"the plot needs matplotlib: pip install 'peerd[experiment]', or {otherwise}")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """One PNG with two panels that share their rows. PeerdError where it cannot be written."""
    rows = result["strategies"]
    names = list(rows)
    places = list(range(len(names)))
    figure = canvas(12.0, 1.9 + 0.42 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    _guesses(left, rows, places, result["chance"])
    _bits(right, rows, places, result)
    left.set_yticks(places, names)
    left.invert_yaxis()
    for axis in (left, right):
        axis.grid(axis="x", color="#e3e5e8", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.11 - 0.5 / len(names)), ncols=3, frameon=False
        )
    figure.suptitle(
        f"Who sent this fragment? {result['peers']} peers, {result['hops']} mix nodes, {result['source']}: "
        "an adversary who sees every link",
        fontsize=12,
    )
    save(figure, path)


def canvas(width: float, height: float) -> Any:
    """An empty matplotlib figure of so many inches, without any display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """As PNG. PeerdError where it cannot be written."""
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise PeerdError(f"{path}: cannot be written: {error.strerror}") from None


def _guesses(axis: Any, rows: Mapping[str, Any], places: list[int], chance: float) -> None:
    values = [row["guess_rate"] for row in rows.values()]
    low = [max(row["guess_rate"] - row["guess_interval"][0], 0.0) for row in rows.values()]
    high = [max(row["guess_interval"][1] - row["guess_rate"], 0.0) for row in rows.values()]
    axis.barh(places, values, color=BLUE, height=0.5, label="sees all links (95 % interval)")
    axis.errorbar(values, places, xerr=[low, high], fmt="none", ecolor="black", capsize=3, linewidth=1.0)
    owned = [(row["corrupt"]["guess_rate"], at) for row, at in zip(rows.values(), places, strict=True)
             if row["corrupt"] is not None]  # fmt: skip
    if owned:
        axis.scatter(
            *zip(*owned, strict=True), marker="D", s=30, color=RED, zorder=3, label="and owns mix nodes"
        )
    linked = [(row["linked"]["5"]["guess_rate"], at) for row, at in zip(rows.values(), places, strict=True)
              if row["linked"]["5"] is not None]  # fmt: skip
    if linked:
        axis.scatter(*zip(*linked, strict=True), marker="o", s=34, facecolors="none", edgecolors=ORANGE,
                     linewidths=1.5, zorder=3, label="5 fragments linked")  # fmt: skip
    axis.scatter([row["strongest"]["guess_rate"] for row in rows.values()], places, marker="|", s=220,
                 color="black", linewidths=2.0, zorder=3, label="the strongest of four")  # fmt: skip
    axis.axvline(chance, color=GREEN, linestyle="--", linewidth=1.4, label=f"chance {chance:.3f}")
    axis.set_xlim(0.0, 1.05)
    axis.set_xlabel("share of senders guessed right")


def _bits(axis: Any, rows: Mapping[str, Any], places: list[int], result: Mapping[str, Any]) -> None:
    axis.barh(places, [row["entropy_bits"] for row in rows.values()], color=BLUE, height=0.5,
              label="entropy that remains")  # fmt: skip
    axis.scatter([row["surprise_bits"] for row in rows.values()], places, marker="|", s=220, color="black",
                 linewidths=2.0, zorder=3, label="surprise")  # fmt: skip
    axis.scatter([row["meter_bits"] for row in rows.values()], places, marker="^", s=44, color=ORANGE,
                 zorder=3, label="live meter")  # fmt: skip
    axis.axvline(result["ideal_bits"], color=GREEN, linestyle="--", linewidth=1.4,
                 label=f"ideal {result['ideal_bits']:.2f}")  # fmt: skip
    axis.axvline(result["reachable_bits"], color=GREY, linestyle=":", linewidth=1.4,
                 label=f"reachable {result['reachable_bits']:.2f}")  # fmt: skip
    axis.set_xlim(left=0.0)
    axis.set_xlabel("bits of doubt about the sender")
