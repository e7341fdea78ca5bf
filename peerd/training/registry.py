"""From a task's name to the task. Three kinds of names, all of which stand for a factory `module:function`:

    digits-cnn           shipped
    mymodule:make        a host's own code, found on PYTHONPATH or in [training] task_path
    resnet               an entry point of the group `peerd.tasks`, of a package that is installed on the host

A factory's keyword parameters are the task's options, their defaults say of which type; `data_dir` and
`seed` are given to it if it asks. To load a task is to run its code: only names that the host's own
operator allows get here.
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from peerd.dataset import check_allowed, check_options
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.training.task import Task
from peerd.types import RunSpec

GROUP = "peerd.tasks"
SHIPPED = {
    "digits-cnn": "peerd.training.tasks.digits_cnn:make",
    "mnist-cnn": "peerd.training.tasks.mnist:make",
    "digits-mlp": "peerd.training.tasks.digits_mlp:make",
    "fashion-mnist-cnn": "peerd.training.tasks.mnist:make_fashion",
    "cifar10-cnn": "peerd.training.tasks.cifar10:make",
    "synthetic": "peerd.training.tasks.synthetic:make",
}
_VALUE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

Factory = Callable[..., Task]
Option = bool | int | float | str


def make_task(spec: RunSpec, allowed: Collection[str]) -> Task:
    """Raises DeniedError, InvalidInputError or NotFoundError with one line: what is wrong with the name, the
    options or the code behind it."""
    factory = load_factory(spec.task, allowed)
    given = {"data_dir": spec.data_dir, "seed": spec.seed}
    parameters = inspect.signature(factory).parameters
    wanted = {name: value for name, value in given.items() if name in parameters}
    options = read_options(spec.task, spec.task_options, options_of(spec.task, factory))
    with blamed(spec.task, "its factory"):
        task: object = factory(**wanted, **options)
    if not isinstance(task, Task):
        raise InvalidInputError(
            f"task {spec.task!r}: its factory returned {type(task).__name__}; it must return a Task, "
            "such as peerd.training.torchtask.TorchTask"
        )
    return task


def load_factory(name: str, allowed: Collection[str]) -> Factory:
    """Imports the task's code, if it is allowed."""
    check_allowed(name, allowed)
    entry = find(name)
    with blamed(name, "it does not import"):
        factory: object = entry.load()
    if not callable(factory):
        raise InvalidInputError(f"task {name!r}: {entry.value} is no function but {type(factory).__name__}")
    return factory


def find(name: str) -> EntryPoint:
    """Where a task's code is, without importing it. What is shipped cannot be shadowed."""
    if name in SHIPPED:
        return EntryPoint(name, SHIPPED[name], GROUP)
    if _VALUE.fullmatch(name):
        return EntryPoint(name, name, GROUP)
    if ":" in name:
        raise InvalidInputError(f"task {name!r}: a task of one's own is named module:factory")
    for entry in entry_points(group=GROUP, name=name):
        return entry
    raise NotFoundError(f"task {name!r} is not installed on this host: no entry point of group {GROUP}")


def options_of(task: str, factory: Factory) -> dict[str, Option]:
    """A factory's options with their defaults. Raises InvalidInputError for one that cannot be given."""
    options: dict[str, Option] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in ("data_dir", "seed") or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        if not isinstance(parameter.default, bool | int | float | str):
            raise InvalidInputError(
                f"task {task!r}: its factory's parameter {name!r} needs a default: a number, text or bool"
            )
        options[name] = parameter.default
    return options


def read_options(task: str, given: Mapping[str, str], known: Mapping[str, Option]) -> dict[str, Option]:
    """Each read as what its default is. Raises InvalidInputError that names the option and what is
    allowed."""
    check_options(task, given, list(known))
    return {name: _read(task, name, text, known[name]) for name, text in given.items()}


def _read(task: str, name: str, text: str, default: Option) -> Option:
    try:
        match default:
            case bool():
                return {"true": True, "false": False}[text.lower()]
            case int():
                return int(text)
            case float():
                return float(text)
            case str():
                return text
    except (KeyError, ValueError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise InvalidInputError(f"task {task!r}: option {name}: {text!r} is not {kind}") from None


@contextmanager
def blamed(task: str, doing: str) -> Iterator[None]:
    """What a host's own code raises becomes one line for the user; where it was, standard error says.

    Not so for shipped tasks, whose exceptions are bugs or broken installations, and not for what may go well
    when it is tried again: memory, or a daemon that has gone.
    """
    try:
        yield
    except (PeerdError, MemoryError, ConnectionError):
        raise
    except (Exception, SystemExit) as error:
        if task in SHIPPED:
            raise
        traceback.print_exc()
        first_line, _, _ = str(error).strip().partition("\n")
        raise InvalidInputError(f"task {task!r}: {doing}: {type(error).__name__}: {first_line}") from None


def summary(factory: Any) -> str:
    """The first line of its docstring."""
    return (inspect.getdoc(factory) or "").partition("\n")[0]
