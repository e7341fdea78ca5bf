"""`peerctl run start|stop|pause|resume|show|watch`; what concerns models is in `run_models`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ctl import aio, complete, render, resuming, steering
from ctl.app import Command, Group, UserInterruptError, ask, pass_settings, report, show, watchable
from ctl.board import ENDED, runs_and_rounds, runs_table
from ctl.choices import ROUND
from ctl.client import Client
from ctl.commands import run_models
from ctl.commands.run_options import JOIN_WINDOW, early_end_options, training_options
from ctl.commands.run_privacy import privacy, tell_cost
from ctl.contexts import Endpoint
from ctl.defaults import make_spec
from ctl.fanout import Answer, Answers, fan_out
from ctl.notices import Signer, operator_of
from ctl.steering import Steered
from ctl.targets import Settings, Targets, again, resolve
from ctl.text import RUN_DIGITS
from ctl.watch import view, watch
from peerd.errors import InvalidInputError
from peerd.pb import node_pb2, runs_pb2
from peerd.types import RunSpec

RunStatus = runs_pb2.RunStatus


@click.group(cls=Group)
def run() -> None:
    """Training runs. A peer takes part in one run at a time."""


run.add_command(privacy)


@run.command("start", cls=Command)
@training_options
@early_end_options
@JOIN_WINDOW
@click.option("--run-id", help="32 hex digits.  [default: drawn, the same for all peers]")
@click.option("--wait", is_flag=True, help="Watch until the run has ended.")
@pass_settings
def start(settings: Settings, /, task: str, wait: bool, join_window: float, **given: Any) -> int:
    """Start a run: with an operator's certificate on the whole network, else on the peers that are named.

    An operator (the global --operator, or that of the contexts file) signs a notice. One peer that takes it
    is enough: peers tell each other, and who joins later hears of it, too, listens for a round and
    contributes from then on. What is not given is the task's default.

    Without an operator the run starts on the peers that are named, most often --all, and nowhere if one of
    them does not answer. Where each peer has an operator of its own, all of them start the run with the same
    --run-id and options, --shards among them.

    \b
    Partitions; `peerctl task partition` shows one before you start:
      iid        at random, equal amounts
      dirichlet  every class by a draw from Dirichlet(--alpha): peers see unlike mixtures
      shards     sorted by class, --classes-per-peer slices each (McMahan et al. 2017)
      quantity   alike mixtures, unlike amounts, by Dirichlet(--alpha)
      own        none: each host's --data-dir is wholly its own

    \b
    Schedules of the learning rate:
      constant   as it is
      cosine     down to nothing over the rounds, slowly at both ends
      step       times --decay every --decay-rounds

    With --patience or --target-accuracy a run may end earlier. Each peer decides by its own measurement, all
    of them alike where they measure the same model on the same samples; the model that it ends with is
    measured on all test samples.

    A task that is not shipped (module:factory, an entry point) is trained by the hosts that list it in
    `[training] tasks` of their configuration; the others do not join.

    \b
    Examples:
      peerctl run start --wait --operator ops.pem
      peerctl --all run start --task mnist-cnn --data-dir /srv/mnist --rounds 10
      peerctl --all run start --partition dirichlet --alpha 0.1 --schedule cosine --rounds 20
      peerctl --all run start --task synthetic -O parameters=1000000
      peerctl --all run start --rounds 100 --patience 5 --min-improvement 0.002 --target-accuracy 0.99
      peerctl --all run start --stale use --stale-rounds 2 --join-window 1m
      peerctl --all run start --encoding int8 --aggregator trimmed-mean --trim 0.2
      peerctl --all run start --encoding top-k --density 0.05
      peerctl --all run start --dissemination random-k --fanout 4 --share 0.25
      peerctl --all run start --privacy-clip 1 --noise-multiplier 0.05
      peerctl run start --run-id 5f0c... --shards 12 --seed 7      on every peer's own host
    """
    targets = resolve(settings)
    certificate = operator_of(settings, targets.endpoints)
    signer = None if certificate is None else Signer.load(certificate)
    given["run_id"] = given["run_id"] or secrets.token_hex(16)
    given["data_dir"] = _data_dir(given["data_dir"], targets.endpoints)
    spec = make_spec(task, **given)  # what is wrong with it is said before anybody is asked
    _, present = ask(settings, Client.status)
    if not present.good or (present.bad and signer is None):
        hint = "the run was started nowhere" if targets.many else ""
        render.report_failures(present.bad, settings.output, hint)
        return present.exit_code
    if given["shards"] is None:
        spec = msgspec.structs.replace(spec, shards=steering.enrolled(present.good))
    tell_cost(settings, spec)
    return _launch(settings, targets, spec, present, certificate, join_window, wait)


def _launch(
    settings: Settings,
    targets: Targets,
    spec: RunSpec,
    present: Answers[node_pb2.NodeStatus],
    certificate: Path | None,
    join_window: float,
    wait: bool,
) -> int:
    """Start the run on the peers that are there, tell of it, and watch it if that is wanted."""
    signer = None if certificate is None else Signer.load(certificate)
    notice = b""
    if signer is not None:
        notice = signer.started(steering.network_of(present.good), spec, join_window)
    there = {answer.name for answer in present.good}
    endpoints = tuple(endpoint for endpoint in targets.endpoints if endpoint.name in there)
    steered = aio.run(steering.start(endpoints, spec, notice, present.bad, settings.timeout))
    answers = steered.answers
    if not wait or answers.bad:
        hint = _undo(settings, answers.good) if targets.many and answers.good else ""
        code = show(settings, targets, answers, render.plain, runs_table, hint)
        _tell_how(settings, steered, certificate)
        return code
    _tell_how(settings, steered, certificate)
    took = {answer.name for answer in answers.good}
    return _watch(settings, Targets(tuple(e for e in endpoints if e.name in took), targets.many))


def _tell_how(settings: Settings, steered: Steered, certificate: Path | None) -> None:
    """Whom the run reaches, and that who is not there will hear of it."""
    if not steered.answers.good:
        return
    hint = "they hear of it from the others when they are back"
    render.report_failures(steered.absent, settings.output, hint)
    if settings.for_programs:
        return
    if certificate is None:
        click.echo(
            "Only on the peers named here: what no operator signs is not announced (--operator NAME.pem)."
        )
    else:
        click.echo(f"Announced to the whole network, signed by {certificate.stem}.")


def _undo(settings: Settings, started: Sequence[Answer[RunStatus]]) -> str:
    names = [answer.name for answer in started]
    command = again(settings, "run", "stop", on=names)
    return f"the run goes on at {', '.join(names)}; to end it: {command}"


def _data_dir(given: str | None, endpoints: Sequence[Endpoint]) -> str | None:
    """A relative path is relative to this shell, which a peer elsewhere does not share."""
    if not given or Path(given).is_absolute():
        return given
    if not all(endpoint.local for endpoint in endpoints):
        raise InvalidInputError(f"--data-dir {given}: must be absolute for peers on other hosts")
    return str(Path(given).expanduser().resolve())


def _steer(settings: Settings, call: Callable[[Client], Awaitable[RunStatus]]) -> int:
    targets, answers = ask(settings, call)
    return show(settings, targets, answers, render.plain, runs_table)


@run.command("stop", cls=Command)
@pass_settings
def stop(settings: Settings) -> int:
    """End the run. The peers go on relaying for the others.

    A run that was announced ends on the whole network, if an operator signs it: one peer that takes the
    notice is enough. Else it ends on the peers that are named.

    \b
    Examples:
      peerctl run stop --operator ops.pem
      peerctl --all run stop
    """
    targets = resolve(settings)
    certificate = operator_of(settings, targets.endpoints)
    signer = None if certificate is None else Signer.load(certificate)
    steered = aio.run(steering.stop(targets.endpoints, signer, settings.timeout))
    code = show(settings, targets, steered.answers, render.plain, runs_table)
    hint = "they hear of it from the others when they are back"
    render.report_failures(steered.absent, settings.output, hint)
    if signer is None and not settings.for_programs and any(a.value.announced for a in steered.answers.good):
        click.echo("Only on the peers named here: to end it everywhere, name an --operator NAME.pem.")
    return code


@run.command("pause", cls=Command)
@pass_settings
def pause(settings: Settings) -> int:
    """Let each peer end the stage that it is in, then wait.

    \b
    Example:
      peerctl --all run pause
    """
    return _steer(settings, Client.pause_run)


@run.command("resume", cls=Command)
@click.option(
    "--run",
    "run_id",
    default="",
    metavar="ID",
    shell_complete=complete.run_id,
    help="Whose model, by its first digits.  [default: the last]",
)
@click.option("--round", "round_number", type=ROUND, help="Of which round.  [default: the newest]")
@click.option("--best", is_flag=True, help="The round with the highest accuracy of those that are kept.")
@click.option("--rounds", type=ROUND, help="How many more.  [default: those that were left]")
@early_end_options
@JOIN_WINDOW
@click.option("--wait", is_flag=True, help="Watch until the run has ended.")
@pass_settings
def resume(
    settings: Settings,
    /,
    run_id: str,
    round_number: int | None,
    best: bool,
    rounds: int | None,
    join_window: float,
    wait: bool,
    **given: Any,
) -> int:
    """Go on with a paused run, or begin a new one with the model of a run that has ended.

    A run that is paused goes on as it was, without any option. Of one that was stopped, has failed, ended
    early or is to have more rounds, `run checkpoints` lists what is left; a new run of the same settings,
    with an id, rounds and a learning-rate schedule of its own, begins with the model of one of its rounds. An
    operator signs it as in `run start`. Every peer takes the model from its own disk and checks that it is
    the one that was signed; who does not have it listens for a round, as one that comes late.

    \b
    Examples:
      peerctl --all run resume
      peerctl run resume --rounds 10 --operator ops.pem
      peerctl --all run resume --run 5f0c --best --rounds 5 --target-accuracy 0.99 --wait
    """
    if best and round_number:
        raise InvalidInputError("--best and --round do not go together")
    targets, present = ask(settings, Client.status)
    anew = any((run_id, round_number, best, rounds, *(value is not None for value in given.values())))
    live = any(answer.value.run_state not in (*ENDED, "") for answer in present.good)
    if not present.good or (live and not anew):
        code = _steer(settings, Client.resume_run)
        return _watch(settings, targets) if wait and not code else code
    certificate = operator_of(settings, targets.endpoints)
    if present.bad and certificate is None:
        render.report_failures(present.bad, settings.output, "the run was resumed nowhere")
        return present.exit_code
    there = tuple(e for e in targets.endpoints if e.name in {answer.name for answer in present.good})
    kept = aio.run(fan_out(there, lambda client: client.checkpoints(run_id), settings.timeout))
    if not kept.good:
        render.report_failures(kept.bad, settings.output, "the run was resumed nowhere")
        return kept.exit_code
    checkpoint = resuming.choose(kept.good, run_id, round_number, best)
    spec = resuming.go_on_from(checkpoint, rounds, **given)
    if not settings.for_programs:
        measured = f" (accuracy {checkpoint.accuracy:.4f})" if checkpoint.test_samples else ""
        click.echo(f"Begins with round {checkpoint.round} of run {spec.initial_run[:RUN_DIGITS]}{measured}.")
    tell_cost(settings, spec)
    return _launch(settings, targets, spec, present, certificate, join_window, wait)


@run.command("show", cls=Command)
@watchable
@pass_settings
def show_run(settings: Settings) -> int:
    """The run that goes on or was last, and its closed rounds.

    "Cohort" is who contributes to the present round, "Listening" the other peers that do not yet. "From" is
    the first round with fragments of this peer, "Skipped" how many it jumped over to catch up. Of each
    closed round: its cohort, how many of the peers that were asked only listened, and fragments of earlier
    rounds that were averaged in. "Epsilon" is what the run has cost a peer so far, where it has noise.

    \b
    Examples:
      peerctl run show
      peerctl --all run show -o json
    """
    return report(settings, Client.run, render.plain, runs_and_rounds)


@run.command("watch", cls=Command)
@pass_settings
def watch_run(settings: Settings) -> int:
    """Follow the run until it has ended; Ctrl-C ends the watching, not the run.

    The exit code is 0 when it has finished on every peer. As JSON, the last status is printed.

    \b
    Examples:
      peerctl run watch
      peerctl --all run watch
    """
    return _watch(settings, resolve(settings))


def _watch(settings: Settings, targets: Targets) -> int:
    quiet = settings.for_programs
    console = render.progress_console(stderr=quiet)
    with view(console, silent=quiet) as shown:
        try:
            answers = aio.run(watch(targets.endpoints, settings.timeout, shown))
        except KeyboardInterrupt:
            look, end = (again(settings, "run", word) for word in ("watch", "stop"))
            raise UserInterruptError(
                f"interrupted; the run goes on: `{look}` follows it, `{end}` ends it"
            ) from None
    code = show(settings, targets, answers, render.plain, runs_and_rounds)
    unfinished = any(answer.value.state != "finished" for answer in answers.good)
    return code or int(unfinished)


for command in run_models.COMMANDS:
    run.add_command(command)
