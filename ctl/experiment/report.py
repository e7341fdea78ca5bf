"""The result of an experiment: one JSON object, a table for people, and a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.experiment.adversaries import FLOOR
from ctl.experiment.attack import unexcluded
from ctl.text import number_of, seconds

APART_BITS = 0.3
"""Meter and measurement disagree by more than this: a note says why."""
COLUMNS = ("Strategy", "Guessed#", "95 %", "Entropy#", "Surprise#", "Meter#", "Corrupt nodes#",
           "Counting#", "Echo#", "5 linked#", "20 linked#", "Latency#", "Cells/s#")  # fmt: skip
SPARE = ("Cells/s#", "Counting#", "Echo#", "5 linked#", "95 %", "Latency#")
METHOD = (
    "guess_rate, entropy_bits and surprise_bits are of the tracing adversary, who follows the message back "
    "and its acknowledgement forth; message_only leaves that out. Two follow nothing: counting looks at what "
    "peers send, echo at what comes to them. strongest is the best guess of the four, picked afterwards",
    "surprise_bits is the mean of -log2 of what the adversary gave the true sender: where it is below "
    "entropy_bits he knew more than his posterior admits, where it is above he was too sure",
    "intervals take fragments as independent; those of one burst are not, so they are somewhat too narrow",
    f"posteriors have a floor: {FLOOR:g} of the uniform distribution is mixed in",
)


@dataclass(frozen=True)
class Frame:
    """What all rows share."""

    peers: int
    hops: int
    rounds: int
    fragments: int | None
    """Of a peer to each other peer in a round; None where the task decides."""
    corrupt: float
    seed: int
    source: str
    """simulator or testbed."""


def whole(frame: Frame, rows: Mapping[str, Mapping[str, Any]], wall_seconds: float) -> dict[str, Any]:
    """The JSON object."""
    return {
        "peers": frame.peers,
        "chance": 1.0 / (frame.peers - 1),
        "ideal_bits": math.log2(frame.peers - 1),
        "reachable_bits": math.log2(unexcluded(frame.peers, frame.hops)),
        "hops": frame.hops,
        "rounds": frame.rounds,
        "fragments": frame.fragments,
        "corrupt_share": frame.corrupt,
        "seed": frame.seed,
        "source": frame.source,
        "strategies": {name: {"ideal_bits": math.log2(frame.peers - 1), **row} for name, row in rows.items()},
        "notes": [*METHOD, *_notes(frame, rows)],
        "wall_seconds": wall_seconds,
    }


def _notes(frame: Frame, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = [
        "a sender is never on its own path, of which a recipient sees the last mix node there and the first "
        "back: no mixing is worth more than log2(peers - 3) = "
        f"{math.log2(unexcluded(frame.peers, frame.hops)):.2f} bits, and many linked messages name their "
        f"sender by exclusion alone{_excluded(rows)}"
    ]
    apart = [
        name
        for name, row in rows.items()
        if row["meter_bits"] - min(row["entropy_bits"], row["surprise_bits"]) > APART_BITS
    ]
    if apart:
        notes.append(
            f"the meter promises more than was measured: {', '.join(apart)}. It counts the packets that one "
            "may have been and takes all peers for equally active; in a burst after training many of these "
            "are of one sender, and who sends much shows: in what it sends, or, where that is constant, in "
            "the acknowledgements that come to it"
        )
    if frame.source == "testbed":
        notes.append(
            "a daemon's meter is the mean of its whole life, its start included. All peers share this "
            "machine's processors: where these are busy, packets queue, and the adversary, who takes no "
            "account of the order of a queue, is weaker than he could be. The simulator has no such queues: "
            "its figures are the ones to go by"
        )
    return notes


def _excluded(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What the best mixing in the world would leave to who links many messages."""
    for row in rows.values():
        known = {k: one["guess_rate"] for k, one in row["linked_exclusion"].items() if one is not None}
        if row["challenges"] and known:
            most = max(known, key=int)
            return f" (with {most} linked {known[most]:.2f} are guessed, see linked_exclusion)"
    return ""


def shown(result: Mapping[str, Any], files: Sequence[str]) -> RenderableType:
    """For people."""
    rows = result["strategies"]
    title = (
        f"Who sent it? {result['peers']} peers, {number_of(result['hops'], 'hop')}: "
        f"chance {result['chance']:.3f}, ideal {result['ideal_bits']:.2f} bits, "
        f"reachable {result['reachable_bits']:.2f}"
    )
    return Group(
        "",
        render.fitting(COLUMNS, (_row(name, row) for name, row in rows.items()), SPARE, title),
        *(f"Note: {note}." for note in result["notes"]),
        *(f"Wrote {file}" for file in files),
    )


def _row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["guess_interval"]
    corrupt = row["corrupt"]
    return (
        name,
        f"{row['guess_rate']:.3f}",
        f"{low:.3f}-{high:.3f}",
        f"{row['entropy_bits']:.2f}",
        f"{row['surprise_bits']:.2f}",
        f"{row['meter_bits']:.2f}",
        "-" if corrupt is None else f"{corrupt['guess_rate']:.3f}",
        f"{row['counting']['guess_rate']:.3f}",
        f"{row['echo']['guess_rate']:.3f}",
        *(_linked(row, k) for k in ("5", "20")),
        seconds(row["latency_median_seconds"]),
        f"{row['cells_per_peer_second']:.0f}",
    )


def _linked(row: Mapping[str, Any], k: str) -> str:
    found = row["linked"][k]
    return "-" if found is None else f"{found['guess_rate']:.3f}"


def as_csv(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a row, nested figures as dotted columns."""
    flat = [{"strategy": name, **_flat(row)} for name, row in rows.items()]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            result |= _flat(item, f"{prefix}{key}.")
        elif isinstance(item, list):
            result |= {f"{prefix}{key}.{place}": one for place, one in enumerate(item)}
        else:
            result[f"{prefix}{key}"] = item
    return result
