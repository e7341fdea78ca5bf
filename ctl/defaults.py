"""What `run start` and `demo` fill in for each task: the settings of `peerd.presets`, and what is given."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from peerd.config import convert
from peerd.errors import InvalidInputError, NotFoundError
from peerd.presets import TASK_DEFAULTS
from peerd.types import RunSpec

NEEDS_DATA = frozenset({"mnist-cnn", "fashion-mnist-cnn", "cifar10-cnn"})
"""Tasks whose files lie in a folder; the others bring their data along."""


ENTRY_POINTS = "peerd.tasks"
"""The group in which an installed package names tasks of its own."""


def make_spec(task: str, **given: Any) -> RunSpec:
    """The task's defaults, overridden by what is given and not None; those of a task that is not shipped are
    the spec's own. InvalidInputError names the field and what is allowed."""
    check_task(task)
    chosen = {key: value for key, value in given.items() if value is not None}
    return convert({"task": task, **TASK_DEFAULTS.get(task, {}), **chosen}, RunSpec, "run")


def check_task(task: str) -> None:
    """Whether there may be such a task; each host decides for itself what it trains."""
    if task not in TASK_DEFAULTS and ":" not in task and not entry_points(group=ENTRY_POINTS, name=task):
        raise InvalidInputError(
            f"unknown task {task!r}; known: {', '.join(TASK_DEFAULTS)}, or one of your own as module:factory"
        )


def data_folder(task: str, given: Path | None) -> str | None:
    """The task's files on this machine, absolute; None for a task that needs none. InvalidInputError where it
    needs them and none are named, NotFoundError for a folder that is not there."""
    check_task(task)
    if given is None:
        if task in NEEDS_DATA:
            raise InvalidInputError(f"{task} needs --data-dir DIR with its files")
        return None
    folder = given.expanduser().resolve()
    if not folder.is_dir():
        raise NotFoundError(f"--data-dir {given}: no such folder")
    return str(folder)
