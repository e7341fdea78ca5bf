"""`peerctl experiment poison`: what false updates do to a run under each aggregator."""

from __future__ import annotations

from pathlib import Path

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.choices import HOPS, split_names
from ctl.defaults import data_folder
from ctl.targets import Settings
from ctl.text import Duration
from ctl.watch import view

TASK, PEERS = "digits-cnn", 6
ROUNDS, QUICK_ROUNDS = 5, 3
QUICK_AGGREGATORS = ("mean", "median", "trimmed-mean")


@click.command("poison", cls=Command)
@click.option("--quick", is_flag=True, help="Mean, median and trimmed mean only, 3 rounds: a minute or two.")
@click.option("--task", default=TASK, show_default=True, help="A shipped one, see `peerctl task list`.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The task's files, if it needs any.")
@click.option("--peers", type=int, default=PEERS, show_default=True, help="Daemons to start.")
@click.option("--poisoners", type=int, default=1, show_default=True, help="How many of them send poison.")
@click.option("--scale", type=click.FloatRange(0.0, 1e6, min_open=True),
              help="Of a false update, see below.  [default: 5; noise 30]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1),
              help=f"Of each run.  [default: {ROUNDS}; --quick {QUICK_ROUNDS}]")  # fmt: skip
@click.option("--hops", type=HOPS, default=3, show_default=True, help="Mix nodes on every path.")
@click.option("--aggregators", metavar="A,B,...", help="Rows, by name.  [default: all; see --quick]")
@click.option("--attacks", metavar="A,B,...", help="Columns: none, sign-flip, noise.  [default: all]")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights, partition and batches.")
@click.option("--patience", type=Duration(), default=120.0, help="For daemons' start-up.  [default: 2m]")
@pass_settings
def poison(
    settings: Settings,
    /,
    quick: bool,
    task: str,
    data_dir: Path | None,
    peers: int,
    poisoners: int,
    scale: float | None,
    rounds: int | None,
    hops: int,
    aggregators: str | None,
    attacks: str | None,
    seed: int,
    patience: float,
) -> None:
    """Let some peers send false updates, and see what each aggregator makes of it.

    Real daemons on this machine train the same run, with the same seed, once for each aggregator and attack.
    A poisoner trains like the others and then sends something else:

    \b
      none       what it has trained
      sign-flip  its update turned round, --scale times as long
      noise      noise, --scale times as long as its update

    Aggregators that reckon with a share of false fragments (trimmed-mean, krum) are told the true one.
    Everything is ended and removed at the end, also on Ctrl-C.

    With --output json, one object on stdout, {AGGREGATOR: {ATTACK: {...}}}: accuracy (of the last aggregate,
    mean over the peers), accuracy_less (than of the mean without poison), accuracy_min, accuracy_per_round,
    refused (fragments, by reason), rounds, peers, cohort_min, closed_by, models (different ones among the
    peers at the end), seconds, exchange_seconds, task, partition, seed, parameters, fragments,
    train_samples, test_samples.

    \b
    Examples:
      peerctl experiment poison
      peerctl experiment poison --quick --scale 20
      peerctl experiment poison --peers 9 --poisoners 3 --aggregators median,krum --attacks none,noise
      peerctl experiment poison --quick --output json | jq '.median."sign-flip".accuracy'
    """
    from ctl.experiment.poison import report, run  # with the daemon's client: not for other commands

    default = QUICK_AGGREGATORS if quick else run.AGGREGATORS
    setting = run.Setting(
        task=task,
        data_dir=data_folder(task, data_dir),
        peers=peers,
        poisoners=poisoners,
        scale=scale or 0.0,
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        hops=hops,
        seed=seed,
        aggregators=default
        if aggregators is None
        else split_names("--aggregators", aggregators, run.AGGREGATORS),
        attacks=run.ATTACKS if attacks is None else split_names("--attacks", attacks, run.ATTACKS),
        patience=patience,
    )
    run.make_plan(setting)  # what cannot work is said before anything is made
    run.make_specs(setting)
    quiet = settings.for_programs
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = aio.run(run.run(setting, shown))
    rows = report.whole(found)
    if quiet:
        render.print_data(rows, settings.output)
    else:
        render.show(report.shown(rows, poisoners))
