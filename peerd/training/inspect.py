"""Tasks looked at without a run: `python -m peerd.training.inspect`, a child process of `peerctl`.

One JSON request on standard input, one JSON answer on standard output: {"answer": ...}, or {"error",
"kind"} with the class of the error. `peerctl` may not import torch, nor anybody's task.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from peerd.dataset import NEEDS
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.trainerproto import MAX_LINE
from peerd.training import accountant
from peerd.training.partition import divide
from peerd.training.registry import GROUP, SHIPPED, find, load_factory, make_task, options_of, summary
from peerd.training.session import load_data, open_learner
from peerd.training.tensors import Format, write_model
from peerd.types import RunSpec


class _Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    task_path: str = ""
    """A folder to import from, besides PYTHONPATH."""


class List(_Request, tag=True):
    """All tasks that can be named here."""


class Show(_Request, tag=True):
    """One of them."""

    spec: RunSpec


class Partition(_Request, tag=True):
    """How its training samples are divided."""

    spec: RunSpec
    shards: int


class Privacy(_Request, tag=True):
    """What it costs a peer to contribute to every round."""

    spec: RunSpec
    epsilon: float | None = None
    """Not with the spec's noise, but with the least that this asks for."""


class Write(_Request, tag=True):
    """A model of one, as a file of named tensors."""

    spec: RunSpec
    source: str
    target: str
    form: Format
    said: dict[str, str]


Request = List | Show | Partition | Privacy | Write


def answer(request: Request) -> Any:
    """Plain data. Raises PeerdError."""
    match request:
        case List():
            return listed()
        case Show(spec=spec):
            return shown(spec)
        case Partition(spec=spec, shards=shards):
            return divided(spec, shards)
        case Privacy(spec=spec, epsilon=epsilon):
            return cost(spec, epsilon)
        case Write(spec=spec, source=source, target=target, form=form, said=said):
            return write_model(spec, Path(source), Path(target), form, said)


def listed() -> list[dict[str, Any]]:
    """Shipped tasks with what they say of themselves, and entry points, whose code is not run for this."""
    found = [_named(name) | {"summary": summary(load_factory(name, [name]))} for name in SHIPPED]
    others = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    return found + [_named(entry.name) | {"summary": ""} for entry in others if entry.name not in SHIPPED]


def shown(spec: RunSpec) -> dict[str, Any]:
    """What is asked for is loaded: who names a task of his own here runs his own code. Figures that only the
    data can tell are None without them, and `missing` says why."""
    factory = load_factory(spec.task, [spec.task])
    needs = NEEDS.get(spec.task)
    known = _named(spec.task) | {
        "summary": summary(factory),
        "options": options_of(spec.task, factory),
        "packages": list(needs.packages) if needs else None,
        "files": needs.files_are if needs else None,
    }
    figures: list[Any]
    try:
        task = make_task(spec, [spec.task])
        train, test = load_data(spec.task, task)
        parameters = len(open_learner(spec, 0, 1, allowed=[spec.task]).vector())
        shape = list(train.features.shape[1:])
        figures = [task.classes, parameters, shape, len(train), len(test), ""]
    except NotFoundError as error:
        figures = [None] * 5 + [str(error)]
    names = ("classes", "parameters", "sample_shape", "train_samples", "test_samples", "missing")
    return known | dict(zip(names, figures, strict=True))


def divided(spec: RunSpec, shards: int) -> dict[str, Any]:
    """Samples of each shard, by class where there are classes."""
    task = make_task(spec, [spec.task])
    train, test = load_data(spec.task, task)
    parts = divide(spec, train.labels, task.classes, shards)
    return {
        "task": spec.task,
        "partition": spec.partition,
        "seed": spec.seed,
        "classes": task.classes,
        "samples": len(train),
        "test_samples": len(test),
        "shards": [
            {"samples": len(part), "by_class": _by_class(train.labels[part], task.classes)} for part in parts
        ],
    }


def cost(spec: RunSpec, epsilon: float | None) -> dict[str, Any]:
    """Noise multiplier and epsilon of the whole run, whichever of them was asked for."""
    delta, noise = spec.privacy_delta, spec.noise_multiplier
    if epsilon is not None:
        noise = accountant.needed(epsilon, delta, spec.rounds)
    spent = accountant.spent(noise, delta, spec.rounds)
    return {"rounds": spec.rounds, "noise_multiplier": noise, "delta": delta, "epsilon": spent}


def _by_class(labels: Any, classes: int) -> list[int]:
    return np.bincount(labels, minlength=classes).tolist() if classes else []


def _named(name: str) -> dict[str, Any]:
    kind = "shipped" if name in SHIPPED else "own code" if ":" in name else "entry point"
    return {"name": name, "kind": kind, "code": find(name).value}


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a task prints is no part of the answer
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(MAX_LINE), type=Request)
        if request.task_path:  # behind everything else: it must not shadow what the house imports
            sys.path.append(request.task_path)
        reply: dict[str, Any] = {"answer": answer(request)}
    except msgspec.MsgspecError as error:
        reply = {"error": str(error), "kind": InvalidInputError.__name__}
    except PeerdError as error:
        reply = {"error": str(error), "kind": type(error).__name__}
    with out:
        out.write(msgspec.json.encode(reply))


if __name__ == "__main__":
    main()
