"""What `run start` and `demo` fill in for each task. The same values as peerd's own table of tasks
(peerd/learning/catalog.py), which this package must not import; a test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
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
}
NEEDS_DATA = frozenset({"mnist-cnn"})
"""Tasks whose files lie in a folder; the others bring their data along."""


def make_spec(task: str, **given: Any) -> RunSpec:
    """The task's defaults, overridden by what is given and not None. InvalidInputError names the
    field and what is allowed."""
    check_task(task)
    chosen = {key: value for key, value in given.items() if value is not None}
    return convert({"task": task, **DEFAULTS[task], **chosen}, RunSpec, "run")


def check_task(task: str) -> None:
    if task not in DEFAULTS:
        raise InvalidInputError(f"unknown task {task!r}; known: {', '.join(DEFAULTS)}")
