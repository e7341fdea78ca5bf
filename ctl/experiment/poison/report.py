"""The result: one JSON object, rows by aggregator and attack, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.experiment.series import Measured, outcome
from ctl.experiment.series.outcome import rounded
from ctl.text import number_of, seconds

CLEAN = ("mean", "none")
REFUSED = ("not_finite", "bad_fragment", "over_count")


def whole(found: Mapping[tuple[str, str], Measured]) -> dict[str, dict[str, dict[str, Any]]]:
    """The JSON object; keys as documented in `peerctl experiment poison --help`."""
    cells = {key: outcome(measured) for key, measured in found.items()}
    clean = cells.get(CLEAN)
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for (aggregator, attack), cell in cells.items():
        dropped = found[aggregator, attack].traffic.dropped
        cell["accuracy_less"] = None if clean is None else rounded(clean["accuracy"] - cell["accuracy"])
        cell["refused"] = {reason: dropped[reason] for reason in REFUSED if dropped[reason]}
        rows.setdefault(aggregator, {})[attack] = cell
    return rows


def line(name: str, found: Measured) -> str:
    """For people, when one run is over."""
    del name
    return f"accuracy {outcome(found)['accuracy']:.4f}, in {seconds(found.seconds)}"


def shown(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], poisoners: int) -> RenderableType:
    """For people."""
    first = next(iter(rows.values()))
    cell = next(iter(first.values()))
    table = render.table(
        ("Aggregator", *(f"{attack}#" for attack in first)),
        ((name, *(f"{one['accuracy']:.4f}" for one in row.values())) for name, row in rows.items()),
    )
    notes = [
        f"{poisoners} of {cell['peers']} peers sent false updates; fragments name no sender, so nobody can "
        "leave them out",
        f"accuracy is of the aggregates, mean over the peers, on {cell['test_samples']} test samples",
    ]
    title = f"Accuracy after {number_of(cell['rounds'], 'round')}:"
    return Group("", title, table, *(f"Note: {note}." for note in notes))
