"""The result of the experiment: one JSON object, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.linking.rows import Frame
from ctl.linking.run import Found

COLUMNS = ("Partition", "Sent", "Fragments#", "Holds#", "Same round#", "Next round#", "Target's#", "Chance#",
           "Next, of all#", "Together#", "Drawn#", "Most#", "Over rounds#", "Target's part#",
           "Accuracy#")  # fmt: skip
SHOWN = ("held.update", "shadows.if_there", "across.if_there", "attribution.if_there", "attribution.chance",
         "across.right", "assembled.update", "drawn.update", "assembled.most", "assembled.portrait",
         "attribution.update", "accuracy")  # fmt: skip
SPARE = ("Fragments#", "Drawn#", "Next, of all#", "Most#")
METHOD = (
    "Holds: the part of one sender's update of one round that one recipient has got at all; no attack can "
    "put together more",
    "Same round, Next round, Target's: how often the nearest neighbour is of the same sender (of another "
    "index of the same round, by the shadows that it is like; of the same index in the next round, by "
    "residual; to what training on a target's very data makes), of the guesses for which the right one had "
    "come; Chance is for drawing among what had come. An attacker cannot tell these guesses from the others: "
    "Next, of all counts those, too, whose right answer never came",
    "Together: the part of one sender's update of one round that chained links put together, correctly, that "
    "of the fragment included that was begun with; Drawn: the same with links that are drawn; Most: the "
    "largest that an attacker gets of anybody in any round. Over rounds: the same as Together, of fragments "
    "of whatever rounds. Target's part: what who has the target's data names of one update",
    "every peer is the curious one once; it receives without any sender, in random order. Only the first has "
    "targets' data, of all others in turn",
    "intervals (low, high) are for the mean, from the spread over seeds, 95 %",
)
COMPARED = (
    ("links to the next round, where there is one", "across.if_there"),
    ("within the round", "shadows.if_there"),
    ("of an update put together", "assembled.update"),
    ("at most", "assembled.most"),
    ("accuracy", "accuracy"),
)
"""Of all to all, and of a share."""


def whole(frame: Frame, found: Sequence[Found], wall_seconds: float) -> dict[str, Any]:
    """The JSON object."""
    return {
        "task": frame.task,
        "peers": frame.peers,
        "rounds": frame.rounds,
        "seeds": list(range(frame.seed, frame.seed + frame.seeds)),
        "body_bytes": frame.body_bytes,
        "shadows": frame.shadows,
        "rows": [
            {
                "partition": one.row.partition,
                "sent": one.row.sent,
                "spec": one.row.changes,
                "fragments": one.fragments,
                "figures": one.figures,
            }
            for one in found
        ],
        "notes": [*METHOD, *_compared(found)],
        "wall_seconds": wall_seconds,
    }


def _compared(found: Sequence[Found]) -> list[str]:
    """What a share below 1 does, as it came out, beside all to all."""
    notes = []
    rows = {(one.row.partition, one.row.sent): one.figures for one in found}
    for (partition, sent), figures in rows.items():
        earlier = rows.get((partition, "share1"))
        if earlier is None or not sent.startswith("share") or sent == "share1":
            continue
        pairs = [
            f"{what} {figures[name]['mean']:.2f} ({earlier[name]['mean']:.2f})"
            for what, name in COMPARED
            if name in figures and name in earlier
        ]
        notes.append(f"{partition}, {sent} (share1): {', '.join(pairs)}")
    return notes


def shown(result: Mapping[str, Any], files: Sequence[str]) -> RenderableType:
    """For people."""
    seeds = result["seeds"]
    title = (
        f"Whose fragments are these? {result['task']}, {result['peers']} peers, {result['rounds']} rounds, "
        f"{len(seeds)} seeds: chance {1 / (result['peers'] - 1):.3f} where all have sent"
    )
    return Group(
        "",
        render.fitting(COLUMNS, map(_row, result["rows"]), SPARE, title),
        *(f"Note: {note}." for note in result["notes"]),
        *(f"Wrote {file}" for file in files),
    )


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    figures = row["figures"]
    return (
        row["partition"],
        row["sent"],
        row["fragments"],
        *(number(figures, name) for name in SHOWN),
    )


def number(figures: Mapping[str, Any], name: str) -> str:
    """With half of its interval, where there is one."""
    found = figures.get(name)
    if found is None:
        return "-"
    half = "" if found["low"] is None else f"±{found['mean'] - found['low']:.2f}"
    return f"{found['mean']:.3f}{half}"
