"""The result: one JSON object, and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.experiment.churn import figures
from ctl.experiment.churn.figures import POINT, rounded
from ctl.experiment.churn.run import Found, Setting, calm_schedule
from ctl.text import seconds

COLUMNS = ("Peer", "What happened to it", "Rounds closed", "Listened", "Skipped#", "Accuracy#", "Resent#",
           "Unacked#", "Gave up#")  # fmt: skip
SPARE = ("Gave up#", "Resent#", "Skipped#", "Unacked#")
JOINERS = ("Late joiner", "Listened in#", "Contributes from#", "Accuracy in its second#", "Cohort then#")


def whole(found: Found, setting: Setting, files: Sequence[str]) -> dict[str, Any]:
    """The JSON object; keys as documented in `peerctl experiment churn --help`."""
    schedule, record = setting.schedule, found.churn
    done = figures.completed(record, schedule)
    waits = figures.waits(record, schedule.survivors)
    accuracy = figures.final_accuracy(record, schedule)
    calm = figures.final_accuracy(found.calm, calm_schedule(schedule))
    longest = max(waits, key=lambda wait: wait.seconds, default=None)
    return {
        "rounds": schedule.rounds,
        "survivors_completed_all": bool(done) and all(done.values()),
        "max_wait_after_death_seconds": 0.0 if longest is None else rounded(longest.seconds),
        "accuracy": None if accuracy is None else rounded(accuracy),
        "accuracy_calm": None if calm is None else rounded(calm),
        "gave_up_to_living": figures.gave_up(record),
        "peers": schedule.peers,
        "hops": setting.hops,
        "seed": setting.seed,
        "grace_seconds": setting.grace_seconds,
        "local_epochs": found.spec.local_epochs,
        "within_grace": longest is None or longest.seconds <= setting.grace_seconds,
        "within_a_point": None if accuracy is None or calm is None else abs(accuracy - calm) <= POINT,
        "late_joiners": figures.late_joiners(record, schedule),
        "survivors": done,
        "longest_wait": None if longest is None else {"peer": longest.name, "round": longest.round},
        "gave_up_calm": figures.gave_up(found.calm),
        "accuracy_per_round": _per_round(found, setting),
        "seconds": {name: rounded(value) for name, value in found.seconds.items()},
        "peers_detail": figures.per_peer(record, schedule),
        "events": _events(found),
        "files": list(files),
        "dir": None if found.folder is None else str(found.folder),
        "notes": notes(found),
    }


def _per_round(found: Found, setting: Setting) -> dict[str, list[float | None]]:
    """Means: over all peers in the calm run, over the survivors in the other."""
    schedule, calm = setting.schedule, calm_schedule(setting.schedule)
    numbers = range(1, schedule.rounds + 1)
    return {
        "calm": [_mean(figures.accuracies(found.calm, calm.names, number)) for number in numbers],
        "churn": [_mean(figures.accuracies(found.churn, schedule.survivors, number)) for number in numbers],
    }


def _mean(values: Sequence[float]) -> float | None:
    return rounded(sum(values) / len(values)) if values else None


def _events(found: Found) -> list[dict[str, Any]]:
    """What the experiment did, and what peers said of each other, in order; seconds since the start."""
    begin = found.churn.begun
    made: list[dict[str, Any]] = [
        {
            "seconds": rounded(h.at - begin),
            "by": "experiment",
            "peer": h.peer,
            "what": h.what,
            "round": h.round,
        }
        for h in found.churn.happened
    ]
    said = [
        {"seconds": rounded(c.at - begin), "by": c.by, "peer": c.peer, "what": c.state}
        for c in found.churn.changes
        if c.at >= begin
    ]
    return sorted([*made, *said], key=lambda event: float(event["seconds"]))


def notes(found: Found) -> list[str]:
    """What a reader of the figures should know, in sentences."""
    tested = max(
        (r.test_samples for results in found.calm.results.values() for r in results.values()), default=0
    )
    return [
        "the calm run has all peers from start to end, those too that join late or leave in the other: the "
        "difference in accuracy is the whole price of the churn, lost data included",
        "a wait after a death counts from when a survivor knew of the last death and all fragments that it "
        "still expected could come, to the end of the round; the way through the mixnet is in it",
        f"the test set has {tested} digits: {POINT:g} of accuracy is {POINT * tested:.1f} of them",
    ]


def shown(result: Mapping[str, Any]) -> RenderableType:
    """For people."""
    parts: list[RenderableType] = [
        "",
        render.details(_verdicts(result), "What the churn cost"),
        "",
        render.fitting(COLUMNS, map(_peer, result["peers_detail"]), SPARE, "Peers"),
    ]
    if result["late_joiners"]:
        rows = [
            (j["name"], _number(j["listened_round"]), _number(j["contributes_from"]),
             _share(j["accuracy_after_two"]), _share(j["cohort_accuracy"]))
            for j in result["late_joiners"]
        ]  # fmt: skip
        parts += ["", render.table(JOINERS, rows)]
    parts += [f"Note: {note}." for note in result["notes"]]
    parts += [f"Wrote {file}" for file in result["files"]]
    parts += [f"Kept {result['dir']}"] if result["dir"] else []
    return Group(*parts)


def _verdicts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    undone = [name for name, done in result["survivors"].items() if not done]
    where = result["longest_wait"]
    wait = seconds(result["max_wait_after_death_seconds"])
    return [
        ("survivors", "closed every round" if not undone else f"NOT all: {', '.join(undone)} missed rounds"),
        (
            "longest wait after a death",
            "no death"
            if where is None
            else f"{wait}, of {where['peer']} in round {where['round']} "
            f"(grace {seconds(result['grace_seconds'])})",
        ),
        ("final accuracy", f"{_share(result['accuracy'])}, calm {_share(result['accuracy_calm'])}"),
        ("given up to living peers", str(result["gave_up_to_living"])),
        ("pace", f"{result['local_epochs']} local epochs a round"),
        ("wall time", ", ".join(f"{name} {seconds(value)}" for name, value in result["seconds"].items())),
    ]


def _peer(peer: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        peer["name"],
        ", ".join(peer["fate"]),
        ranges(peer["rounds_closed"]),
        ranges(peer["listened"]),
        peer["rounds_skipped"],
        _share(peer["accuracy"]),
        peer["resent"],
        peer["dropped_unacked"],
        peer["gave_up"],
    )


def ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 -> 1-3, 7; ascending numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
