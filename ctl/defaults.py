"""What `run start` and `demo` fill in for each task. The same values as peerd's own table of tasks
(peerd/learning/catalog.py), which this package must not import; a test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from peerd.config import convert
from peerd.errors import InvalidInputError
from peerd.types import RunSpec

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "digits-cnn": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 5,
        "learning_rate": 3e-3,
    },
    "mnist-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "digits-mlp": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 5,
        "learning_rate": 3e-3,
    },
    "fashion-mnist-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "cifar10-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "synthetic": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 1e-3,
    },
}
NEEDS_DATA = frozenset({"mnist-cnn", "fashion-mnist-cnn", "cifar10-cnn"})
"""Tasks whose files lie in a folder; the others bring their data along."""


ENTRY_POINTS = "peerd.tasks"
"""The group in which an installed package names tasks of its own."""


def make_spec(task: str, **given: Any) -> RunSpec:
    """The task's defaults, overridden by what is given and not None; those of a task that is not shipped are
    the spec's own. InvalidInputError names the field and what is allowed."""
    check_task(task)
    chosen = {key: value for key, value in given.items() if value is not None}
    return convert({"task": task, **DEFAULTS.get(task, {}), **chosen}, RunSpec, "run")


def check_task(task: str) -> None:
    """Whether there may be such a task; each host decides for itself what it trains."""
    if task not in DEFAULTS and ":" not in task and not entry_points(group=ENTRY_POINTS, name=task):
        raise InvalidInputError(
            f"unknown task {task!r}; known: {', '.join(DEFAULTS)}, or one of your own as module:factory"
        )
