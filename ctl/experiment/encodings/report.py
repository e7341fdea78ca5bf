"""The result: one JSON object with a row for each encoding, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.experiment.series import Measured, outcome
from ctl.experiment.series.outcome import rounded
from ctl.text import count, seconds, size

BASE = "float32"
COLUMNS = ("Encoding", "Fragments#", "Packets#", "On links#", "Fewer#", "Beside#", "Accuracy#", "Less#",
           "Exchange#", "Run#", "Resent#")  # fmt: skip
SPARE = ("Resent#", "Run#", "Beside#", "Packets#")


def whole(found: Mapping[str, Measured], hops: int) -> dict[str, dict[str, Any]]:
    """The JSON object; keys as documented in `peerctl experiment encodings --help`."""
    rows = {name: _row(measured, hops) for name, measured in found.items()}
    base = rows.get(BASE)
    for row in rows.values():
        row["ratio"] = _ratio(base, row, "bytes_on_links")
        row["ratio_with_beside"] = _ratio(base, row, "bytes_all")
        row["accuracy_less"] = None if base is None else rounded(base["accuracy"] - row["accuracy"])
    return rows


def _row(found: Measured, hops: int) -> dict[str, Any]:
    traffic = found.traffic
    return {
        "bytes_on_links": traffic.run_bytes,
        "bytes_beside": traffic.all_bytes - traffic.run_bytes,
        "bytes_all": traffic.all_bytes,
        "packets": traffic.run_cells,
        "messages": traffic.cells["own"],
        "cover": traffic.cover_cells,
        "cell_bytes": traffic.cell_bytes,
        "resent": traffic.resent,
        "gave_up": traffic.gave_up,
        "hops": hops,
        **outcome(found),
    }


def _ratio(base: Mapping[str, Any] | None, row: Mapping[str, Any], key: str) -> float | None:
    return None if base is None or not row[key] else rounded(base[key] / row[key])


def line(name: str, found: Measured) -> str:
    """For people, when one run is over."""
    del name
    return f"{size(found.traffic.run_bytes)} on links in {seconds(found.seconds)}"


def notes(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader of the figures should know, in sentences."""
    first = next(iter(rows.values()))
    made = [
        f"bytes on links are those of the run, over all links: own messages, resends, acknowledgements, each "
        f"at every one of {first['hops']} mix nodes, in cells of {first['cell_bytes']} bytes; TLS and TCP "
        f"are not counted",
        "there is no cover, which would hide what a run sends from the counters as from anybody; what is "
        "beside is keepalive of the links and gossip, and grows with the time that a run takes",
        f"accuracy is of the aggregates, mean over {first['peers']} peers, after round {first['rounds']}, on "
        f"{first['test_samples']} test samples",
    ]
    for name, row in rows.items():
        late = {how: n for how, n in row["closed_by"].items() if how != "complete"}
        if late or row["gave_up"] or row["cohort_min"] < row["peers"]:
            told = ", ".join(f"{n} rounds on single peers closed by {how}" for how, n in late.items())
            made.append(
                f"{name}: {told or 'every round complete'}, {row['gave_up']} messages given up, "
                f"{row['cohort_min']} of {row['peers']} peers in the smallest round"
            )
    return made


def shown(rows: Mapping[str, Mapping[str, Any]], files: list[str]) -> RenderableType:
    """For people."""
    table = render.fitting(COLUMNS, (_cells(name, row) for name, row in rows.items()), SPARE)
    parts: list[RenderableType] = ["", table, *(f"Note: {note}." for note in notes(rows))]
    return Group(*parts, *(f"Wrote {file}" for file in files))


def _cells(name: str, row: Mapping[str, Any]) -> tuple[object, ...]:
    less = row["accuracy_less"]
    return (
        name,
        row["fragments"],
        count(row["packets"]),
        size(row["bytes_on_links"]),
        "-" if row["ratio"] is None else f"{row['ratio']:.2f} x",
        size(row["bytes_beside"]),
        f"{row['accuracy']:.4f}",
        "-" if less is None else f"{less * 100:+.2f} points",
        seconds(row["exchange_seconds"]),
        seconds(row["seconds"]),
        row["resent"],
    )
