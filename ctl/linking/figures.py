"""Figures of one run, and their means and intervals over the runs of several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctl.linking.assembly import Assembled, assemble
from ctl.linking.attacks import Attributed, Count, across, attribution, within
from ctl.linking.features import LENGTH, Floats, Look, look
from ctl.linking.haul import Caught
from ctl.linking.play import Played
from ctl.linking.shadows import weights

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Quantiles of Student's distribution for 1, 2, ... degrees of freedom."""

Figures = dict[str, float | None]


def figures(played: Played, seed: int) -> Figures:
    """By dotted name. Means over all peers, each of which is the curious one once; attribution is the first's
    alone."""
    counts: dict[str, list[Count]] = {}
    kinds: dict[str, list[Assembled]] = {"assembled": [], "drawn": []}
    attributed: list[Attributed] = []
    rng = np.random.default_rng(seed)
    for caught in played.caught:
        if not caught.haul.places:  # a tiny share of a tiny model
            continue
        seen = look(caught.haul)
        like = weights(caught.haul, seen)
        for name, count in _links(caught, seen, like).items():
            counts.setdefault(name, []).append(count)
        noise = rng.normal(size=(len(caught.sender), 1))
        kinds["assembled"].append(assemble(caught, seen, like))
        kinds["drawn"].append(assemble(caught, seen, noise))
        if caught.haul.references:
            attributed.append(attribution(caught, seen))
    found: Figures = {"accuracy": played.accuracy[-1], **_held(played.caught)}
    for name, some in counts.items():
        found |= {f"{name}.{key}": value for key, value in _sum(some).rates().items()}
    for name, several in kinds.items():
        updates = [part for one in several for part in one.updates]
        found[f"{name}.update"] = float(np.mean(updates))
        found[f"{name}.most"] = float(np.mean([max(one.updates) for one in several]))
        found[f"{name}.portrait"] = float(np.mean([part for one in several for part in one.portraits]))
    found |= {f"attribution.{key}": v for key, v in _sum([one.count for one in attributed]).rates().items()}
    parts = [part for one in attributed for part in one.parts]
    found["attribution.update"] = float(np.mean(parts)) if parts else None
    found["attribution.most"] = float(np.max(parts)) if parts else None
    return found


def _links(caught: Caught, seen: Look, like: Floats) -> dict[str, Count]:
    return {
        "norm": within(caught, seen, seen.features[:, LENGTH]),
        "shape": within(caught, seen, seen.features),
        "shadows": within(caught, seen, like),
        "across": across(caught, seen),
    }


def _sum(counts: Sequence[Count]) -> Count:
    total = Count()
    for one in counts:
        total.guesses += one.guesses
        total.right += one.right
        total.possible += one.possible
        total.by_chance += one.by_chance
    return total


def _held(caught: Sequence[Caught]) -> Figures:
    """The part of a sender's update that a recipient has got, whoever may know it: mean and largest; and of
    its indices those of which it ever got one."""
    update, most, ever = [], [], []
    for one in caught:
        haul = one.haul
        of: dict[tuple[int, int], int] = {}
        places: set[tuple[int, int]] = set()
        for (round, index), sender in zip(haul.places, one.sender.tolist(), strict=True):
            of[round, sender] = of.get((round, sender), 0) + 1
            places.add((sender, index))
        whole = haul.senders * haul.layout.fragments
        update.append(len(haul.places) / (whole * len(haul.bases)))
        most.append(max(of.values(), default=0) / haul.layout.fragments)
        ever.append(len(places) / whole)
    return {
        "held.update": float(np.mean(update)),
        "held.most": float(np.max(most)),
        "held.ever": float(np.mean(ever)),
    }


def over_seeds(runs: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """{name: {mean, low, high}}: a 95 % interval for the mean, from the seeds' spread; null with one seed.
    Figures that a run has not are left out."""
    result: dict[str, dict[str, Any]] = {}
    for name in runs[0]:
        values = [value for run in runs if (value := run[name]) is not None]
        if values:
            result[name] = {"mean": float(np.mean(values)), **_interval(values)}
    return result


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    degrees = len(values) - 1
    if degrees < 1:
        return {"low": None, "high": None}
    quantile = T_975[degrees - 1] if degrees <= len(T_975) else T_975[-1]
    half = quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return {"low": mean - half, "high": mean + half}
