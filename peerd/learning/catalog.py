"""The shipped tasks by name: settings that train them well, and whether this host can train one. Known
without torch, and without importing anybody's code.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import TypedDict

from peerd.dataset import NEEDS, check_allowed, check_options, find_files
from peerd.errors import InvalidInputError, NotFoundError
from peerd.types import SHIPPED_TASKS, RunSpec


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
"""For six peers and five rounds; measured in peerd/training/README.md. A task of a host's own starts from the
defaults of `RunSpec`."""


def check_task(spec: RunSpec, allowed: Collection[str] = SHIPPED_TASKS) -> None:
    """Whether this host can train the spec's task, without starting a trainer. `allowed`: by its operator.

    Raises DeniedError or InvalidInputError for a task that is not allowed, NotFoundError for missing data or
    packages, in one line that says what to do. A task that is not shipped is looked at by the trainer alone.
    """
    check_allowed(spec.task, allowed)
    needs = NEEDS.get(spec.task)
    if needs is None:
        return
    check_options(spec.task, spec.task_options, needs.options)
    _require_packages(*needs.packages)
    if needs.files:
        find_files(spec.task, spec.data_dir)
    elif spec.partition == "own":
        raise InvalidInputError(
            f"partition own: {spec.task} brings its samples along, the same on every host; "
            "own is for tasks with a --data-dir"
        )


def _require_packages(*names: str) -> None:
    """Only looks for them; importing torch would cost this process 200 MB."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise NotFoundError(
            f"{' and '.join(missing)} not installed, so this host cannot train: pip install 'peerd[train]'"
        )
