"""The tasks by name: what they need on a host, and settings that train them well. Known without torch."""

from __future__ import annotations

import importlib.util
from typing import TypedDict

from peerd.dataset import find_idx_files
from peerd.errors import InvalidInputError, NotFoundError
from peerd.types import RunSpec


class TaskDefaults(TypedDict):
    """Values for the fields of `RunSpec` with the same names."""

    samples_per_round: int
    test_samples: int
    batch_size: int
    local_epochs: int
    learning_rate: float


DEFAULTS: dict[str, TaskDefaults] = {
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
"""For six peers and five rounds; measured in peerd/training/README.md."""


def check_task(spec: RunSpec) -> None:
    """Whether this host can train the spec's task, without starting a trainer.

    Raises InvalidInputError for an unknown task and NotFoundError for missing data or packages, in one
    line that says what to do.
    """
    if spec.task not in DEFAULTS:
        raise InvalidInputError(f"unknown task {spec.task!r}; known: {', '.join(sorted(DEFAULTS))}")
    _require_packages("torch", *(["sklearn"] if spec.task == "digits-cnn" else []))
    if spec.task == "mnist-cnn":
        find_idx_files(spec.data_dir)


def _require_packages(*names: str) -> None:
    """Only looks for them; importing torch would cost this process 200 MB."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise NotFoundError(
            f"{' and '.join(missing)} not installed, so this host cannot train: pip install 'peerd[train]'"
        )
