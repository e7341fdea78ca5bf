"""Whether this host can train a task. Known without torch, and without importing anybody's code."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection

import msgspec

from peerd.dataset import NEEDS, check_allowed, check_options, find_files
from peerd.errors import InvalidInputError, NotFoundError
from peerd.types import SHIPPED_TASKS, RunSpec


def as_here(spec: RunSpec, data_dir: str, *, announced: bool) -> RunSpec:
    """What this host trains by: an announced run's files lie where its own configuration says, if it does.
    Not what the run's spec is to anybody else: the path is none of the others' business."""
    return msgspec.structs.replace(spec, data_dir=data_dir) if announced and data_dir else spec


def check_task(spec: RunSpec, allowed: Collection[str] = SHIPPED_TASKS) -> None:
    """Whether this host can train the spec's task, without starting a trainer. `allowed`: by its operator.

    Raises DeniedError or InvalidInputError for a task that is not allowed, NotFoundError for missing data or
    packages, in one line that says what to do. A task that is not shipped is looked at by the trainer alone.
    """
    check_allowed(spec.task, allowed)
    if spec.noised:
        _require_packages("dp_accounting")
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
