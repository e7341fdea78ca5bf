"""`peerctl task list|show|partition`: what can be trained, and how its samples would be divided. On this
host, without any daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Group as Lines

from ctl import complete, render, tasks
from ctl.app import Command, Group, pass_settings
from ctl.choices import PARTITION, named_values
from ctl.defaults import make_spec
from ctl.targets import Settings
from peerd.errors import NotFoundError
from peerd.types import RunSpec

NO_RUN = 32 * "0"
"""Nothing is run here; a spec needs an id."""

Decorator = Callable[[Any], Any]


def _task_options(command: Any) -> Any:
    """What says which task, on which files."""
    folder = click.Path(path_type=Path)
    options: list[Decorator] = [
        click.argument("task", shell_complete=complete.task),
        click.option("--data-dir", type=folder, help="Where the task's files are."),
        click.option(
            "--task-path",
            type=folder,
            default=Path(),
            show_default="here",
            help="A folder with the module of module:factory.",
        ),
        click.option(
            "--task-option",
            "-O",
            "options",
            multiple=True,
            metavar="NAME=VALUE",
            callback=named_values,
            help="Of the task; `peerctl task show TASK` lists them.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=Group)
def task() -> None:
    """What can be trained here: model and data. No daemon is asked.

    \b
    A task is named in one of three ways:
      digits-cnn        shipped; every host has it
      mymodule:make     a function of your own, that returns a Task
      resnet            an entry point of group peerd.tasks, of a package that is installed
    The last two run code of the host itself: a daemon trains them only if its own configuration lists
    them, `[training] tasks = [...]`.
    """


@task.command("list", cls=Command)
@pass_settings
def list_(settings: Settings) -> None:
    """The tasks that are shipped, and those of installed packages.

    \b
    Examples:
      peerctl task list
      peerctl task list -o json
    """
    found = tasks.list_tasks()
    if settings.for_programs:
        render.print_data(found, settings.output)
    else:
        rows = ((one["name"], one["kind"], one["summary"]) for one in found)
        render.show(render.table(("Task", "Kind", "What it is"), rows))


@task.command("show", cls=Command)
@_task_options
@pass_settings
def show(
    settings: Settings, /, task: str, data_dir: Path | None, task_path: Path, options: dict[str, str]
) -> None:
    """What a task is, what it needs and which options it has; with its data also their and its model's size.

    \b
    Examples:
      peerctl task show synthetic -O parameters=25000000
      peerctl task show mnist-cnn --data-dir ~/mnist
      peerctl task show mymodule:make
    """
    found = tasks.show_task(_spec(task, data_dir, options), str(task_path.resolve()))
    if settings.for_programs:
        render.print_data(found, settings.output)
        return
    options_are = ", ".join(f"{name} ({value})" for name, value in found["options"].items())
    pairs = [
        ("task", f"{found['name']} ({found['kind']}, {found['code']})"),
        ("what", found["summary"]),
        ("options", options_are or "none"),
        ("packages", _words(found["packages"])),
        ("files", found["files"] or ("none" if found["files"] is not None else "it knows itself")),
    ]
    if found["missing"]:
        pairs.append(("unknown yet", f"model and samples: {found['missing']}"))
    else:
        shape = " x ".join(map(str, found["sample_shape"]))
        pairs += [
            ("floats exchanged", found["parameters"]),
            ("classes", found["classes"] or "none: numbers"),
            ("samples", f"{found['train_samples']} to train, {found['test_samples']} to test, each {shape}"),
        ]
    render.show(render.details(pairs))


@task.command("partition", cls=Command)
@_task_options
@click.option("--peers", type=click.IntRange(1, 10_000), default=6, show_default=True, help="Shards to make.")
@click.option("--partition", type=PARTITION, default="iid", show_default=True,
              help="As in `run start`, whose help says what each is.")  # fmt: skip
@click.option("--alpha", type=float, help="dirichlet, quantity: small is uneven.  [default: 0.5]")
@click.option("--classes-per-peer", type=int, help="shards: slices by class for each peer.  [default: 2]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed, the same division.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this PNG file.")
@pass_settings
def partition(
    settings: Settings,
    /,
    task: str,
    data_dir: Path | None,
    task_path: Path,
    options: dict[str, str],
    peers: int,
    plot: Path | None,
    **given: Any,
) -> None:
    """How a run with these settings would divide the training samples, before it is started.

    One row for each shard: how many samples of each class. In a run the peers take the shards in the order of
    their ids. With --partition own there is no division: the row is what --data-dir holds.

    \b
    Examples:
      peerctl task partition digits-cnn --peers 6 --partition dirichlet --alpha 0.1
      peerctl task partition mnist-cnn --data-dir ~/mnist --partition shards --plot shards.png
      peerctl task partition synthetic -O samples=1000 --partition quantity -o json
    """
    from ctl import partition as looks  # with the drawing: not for other commands
    from ctl.experiment.plot import check_matplotlib

    if plot is not None:
        check_matplotlib("leave out --plot")
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    spec = _spec(task, data_dir, options, **given)
    divided = tasks.divide(spec, peers, str(task_path.resolve()))
    if plot is not None:
        looks.draw(divided, plot)
    if settings.for_programs:
        render.print_data(divided | {"files": [str(plot)] if plot is not None else []}, settings.output)
        return
    total = f"{divided['samples']} training samples, {divided['test_samples']} test samples"
    drawn = [f"Drawn: {plot}"] if plot is not None else []
    render.show(Lines(looks.table(divided), "", total, *drawn))


def _spec(task: str, data_dir: Path | None, options: dict[str, str], **given: Any) -> RunSpec:
    folder = "" if data_dir is None else str(data_dir.expanduser().resolve())
    return make_spec(task, run_id=NO_RUN, data_dir=folder, task_options=options, **given)


def _words(names: list[str] | None) -> str:
    return "it knows itself" if names is None else ", ".join(names) or "none"
