"""`peerctl run checkpoints|export|compare`: the models and results of runs, also past ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Group as Lines
from rich.console import RenderableType

from ctl import aio, compare, complete, export, render
from ctl.app import Command, pass_settings, report, watchable
from ctl.choices import ROUND
from ctl.client import Client
from ctl.fanout import Answer, fan_out
from ctl.targets import Settings, resolve
from ctl.text import RUN_DIGITS, seconds, size
from peerd.errors import DeniedError, InvalidInputError, NotFoundError
from peerd.pb import runs_pb2
from peerd.types import SHIPPED_TASKS

FORMAT = click.Choice(["safetensors", "torch"])
RUN = click.option(
    "--run",
    "run_id",
    default="",
    metavar="ID",
    shell_complete=complete.run_id,
    help="By its first digits.",
)
_RUN_ID = re.compile(r"[0-9a-f]{4,32}", re.ASCII)
COLUMNS = ("Run", "Task", "Encoding", "Aggregator", "Rounds#", "Best#", "in round#", "Final#", "Round takes#",
           "Received#", "Ended by")  # fmt: skip
SPARE = ("Encoding", "Aggregator", "Received#")

Checkpoint = runs_pb2.Checkpoint


@click.command("checkpoints", cls=Command)
@RUN
@watchable
@pass_settings
def checkpoints(settings: Settings, run_id: str) -> int:
    """The models of closed rounds that each peer keeps: the newest of a run, and its best.

    How many are kept is a setting of each host, `[training] keep_checkpoints`; of the last four runs. They
    are what `run export` writes and `run resume` begins with.

    \b
    Examples:
      peerctl run checkpoints
      peerctl --all run checkpoints --run 5f0c -o json
    """
    return report(settings, lambda client: client.checkpoints(run_id), _plain, _table)


def _plain(found: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    return [
        {"run_id": one.spec.run_id, "task": one.spec.task} | render.plain(one, without=("spec",))
        for one in found
    ]


def _table(answers: Sequence[Answer[list[Checkpoint]]]) -> RenderableType:
    rows = [
        (
            answer.name,
            one.spec.run_id[:RUN_DIGITS],
            one.spec.task,
            one.round,
            f"{one.accuracy:.4f}" if one.test_samples else "-",
            "best" if one.best else "",
            size(one.bytes),
        )
        for answer in answers
        for one in answer.value
    ]
    if not rows:
        return "No checkpoints yet."
    return render.table(("Peer", "Run", "Task", "Round#", "Accuracy#", "", "Size#"), rows)


@click.command("export", cls=Command)
@RUN
@click.option("--round", "round_number", type=ROUND, help="Which.  [default: the newest]")
@click.option("--best", is_flag=True, help="The round with the highest accuracy of those that are kept.")
@click.option("--format", "form", type=FORMAT, default="safetensors", show_default=True, help="Of the file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to make.")
@click.option("--force", is_flag=True, help="Overwrite it.")
@click.option(
    "--task",
    "own_task",
    metavar="TASK",
    help="For a model of a task that is not shipped: its name, to import that code here.",
)
@click.option("--task-path", type=click.Path(path_type=Path), default=Path(), show_default="here",
              help="A folder with the module of a task module:factory.")  # fmt: skip
@pass_settings
def export_model(
    settings: Settings,
    /,
    run_id: str,
    round_number: int | None,
    best: bool,
    form: str,
    out: Path,
    force: bool,
    own_task: str | None,
    task_path: Path,
) -> None:
    """Write the model of a round into a file, to be used without peerd.

    The file holds named tensors, as `state_dict` has them, so that `model.load_state_dict(...)` takes them.
    safetensors carries run, round, accuracy and digest as metadata; torch is `torch.save` of the dictionary,
    for torch.load(..., weights_only=True). A task that is not of torch has one tensor, `vector`, and no
    format torch. Tensors are named on this host, which needs the task's code (and torch, for one of torch);
    of a task that is not shipped, only if you name it with --task, too.

    An admin's certificate is needed: a viewer sees how good a model is, not the model. All peers that closed
    a round alike have the same one, so one peer is asked.

    \b
    Examples:
      peerctl run export --best --out model.safetensors
      peerctl run export --run 5f0c --round 12 --format torch --out model.pt
    """
    if best and round_number:
        raise InvalidInputError("--best and --round do not go together")
    targets = resolve(settings)
    if len(targets.endpoints) != 1:
        raise InvalidInputError("export asks one peer: name it with --context NAME")
    export.check_target(out, force)
    (endpoint,) = targets.endpoints

    async def fetch(folder: Path) -> export.Fetched:
        async with Client(endpoint, settings.timeout) as client:
            return await export.fetch(client, run_id, round_number or 0, best, folder)

    with export.beside(out) as folder:
        from peerd.membership.records import run_spec_of

        fetched = aio.run(fetch(Path(folder)))
        spec = run_spec_of(fetched.checkpoint.spec)
        _refuse_foreign(spec.task, own_task)
        done = export.write(fetched, spec, out, form, str(task_path.resolve()), force)
    _tell_export(settings, done, out, form)


def _refuse_foreign(task: str, own_task: str | None) -> None:
    """The peer says which task it is: what it names is not imported unless the user has named it, too."""
    if task not in SHIPPED_TASKS and task != own_task:
        raise DeniedError(
            f"the model is of task {task!r}, which is not shipped; naming its tensors imports that code on "
            f"this host: say --task {task} if it is to be"
        )


def _tell_export(settings: Settings, done: export.Exported, out: Path, form: str) -> None:
    (one,) = _plain([done.checkpoint])
    if settings.for_programs:
        render.print_data(one | {"file": str(out), "format": form, "tensors": done.tensors}, settings.output)
        return
    measured = f", accuracy {one['accuracy']:.4f}" if one["test_samples"] else ""
    click.echo(
        f"{out}: round {one['round']} of run {one['run_id'][:RUN_DIGITS]}{measured}, {len(done.tensors)} "
        f"tensor{'s' * (len(done.tensors) != 1)}, {one['parameters']} values exchanged"
    )


@click.command("compare", cls=Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete.run_id)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this PNG file.")
@pass_settings
def compare_runs(settings: Settings, /, runs: tuple[str, ...], plot: Path | None) -> int:
    """Runs side by side: how they were set, how good they became, how long that took.

    Each RUN is the id of a run that the peer took part in (or the first four digits of it, or more), or a
    file that `peerctl run show --output json` has written; one of several peers gives a column for each. A
    peer remembers the results of its last 32 runs.

    "Received" is what came in fragments of the others, mixing and cover aside.

    \b
    Examples:
      peerctl run compare 5f0c 91ab
      peerctl run compare float32.json int8.json --plot both.png
      peerctl run compare 5f0c 91ab -o json
    """
    if plot is not None:
        from ctl.experiment.plot import check_matplotlib

        check_matplotlib("leave out --plot")
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    found, code = list[compare.Run](), 0
    for name in runs:
        more, failed = _found(settings, name)
        found += more
        code = code or failed
    if plot is not None:
        compare.draw(found, plot)
    if settings.for_programs:
        render.print_data([_as_json(run) for run in found], settings.output)
        return code
    drawn = [f"Drawn: {plot}"] if plot is not None else []
    render.show(Lines(_overview(found), "", _by_round(found), *drawn))
    return code


def _found(settings: Settings, name: str) -> tuple[list[compare.Run], int]:
    """A file by that name goes first. With the exit code of the peers that did not answer."""
    path = Path(name)
    if path.is_file():
        return compare.from_file(path), 0
    if not _RUN_ID.fullmatch(name):
        raise NotFoundError(f"{name}: no such file, and no run id: those are 4 to 32 hex digits")
    endpoints = resolve(settings).endpoints
    answers = aio.run(fan_out(endpoints, lambda client: client.past_run(name), settings.timeout))
    if not answers.good:
        raise answers.bad[0].error
    render.report_failures(answers.bad, settings.output)
    many = len(answers.good) > 1
    runs = [
        compare.run_of(
            render.plain(answer.value),
            answer.value.spec.run_id[:RUN_DIGITS] + (f" {answer.name}" if many else ""),
        )
        for answer in answers.good
    ]
    return runs, answers.exit_code


def _as_json(run: compare.Run) -> dict[str, Any]:
    data = msgspec.to_builtins(run)
    if not isinstance(data, dict):
        raise TypeError("a run is a struct with named fields")
    return data | {"accuracy": [[number, run.accuracy[number]] for number in sorted(run.accuracy)]}


def _overview(runs: Sequence[compare.Run]) -> RenderableType:
    rows = (
        (
            run.name,
            run.task,
            run.encoding,
            run.aggregator,
            run.rounds,
            _four(run.best_accuracy),
            run.best_round or "-",
            _four(run.final_accuracy),
            "-" if run.seconds_per_round is None else seconds(run.seconds_per_round),
            "-" if run.bytes_received is None else size(run.bytes_received),
            run.ended_by or run.state or "-",
        )
        for run in runs
    )
    return render.fitting(COLUMNS, rows, SPARE)


def _by_round(runs: Sequence[compare.Run]) -> RenderableType:
    numbers = sorted({number for run in runs for number in run.accuracy})
    rows = ((number, *(_four(run.accuracy.get(number)) for run in runs)) for number in numbers)
    return render.table(("Round#", *(f"{run.name}#" for run in runs)), rows, "Accuracy")


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


COMMANDS = (checkpoints, export_model, compare_runs)
