"""`peerctl experiment encodings`: what a run costs on the wire in each encoding."""

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
from peerd.errors import NotFoundError

TASK, QUICK_TASK = "mnist-cnn", "digits-cnn"
ROUNDS, QUICK_ROUNDS = 5, 3
PEERS = 6


@click.command("encodings", cls=Command)
@click.option("--quick", is_flag=True, help="digits-cnn, 3 rounds: a minute or two, and no files needed.")
@click.option("--task", help=f"See `peerctl task list`.  [default: {TASK}; --quick {QUICK_TASK}]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The task's files, if it needs any.")
@click.option("--peers", type=int, default=PEERS, show_default=True, help="Daemons to start.")
@click.option("--rounds", type=click.IntRange(min=1),
              help=f"Of each run.  [default: {ROUNDS}; --quick {QUICK_ROUNDS}]")  # fmt: skip
@click.option("--hops", type=HOPS, default=3, show_default=True, help="Mix nodes on every path.")
@click.option("--encodings", metavar="A,B,...", help="Rows, by name.  [default: all]")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights, partition and batches.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw a picture there (PNG).")
@click.option("--patience", type=Duration(), default=120.0, help="For daemons' start-up.  [default: 2m]")
@pass_settings
def encodings(
    settings: Settings,
    /,
    quick: bool,
    task: str | None,
    data_dir: Path | None,
    peers: int,
    rounds: int | None,
    hops: int,
    encodings: str | None,
    seed: int,
    plot: Path | None,
    patience: float,
) -> None:
    """Train the same run once in each encoding, and count what it puts on the links.

    Real daemons on this machine, with the same seed, data, partition (IID) and paths of as many mix nodes for
    every encoding. Bytes are the daemons' own counters, after the run less before it. Cover is off: a mix
    node cannot tell cover from messages, so neither could the counters. Links are asked only every 5 s
    whether they live; that and gossip are counted beside the run. Everything is ended and removed at the
    end, also on Ctrl-C.

    With --output json, one object on stdout, {ENCODING: {...}}: bytes_on_links (of the run, over all links),
    ratio (of float32's bytes_on_links to these), accuracy (of the last aggregate, mean over the peers),
    accuracy_less (than with float32); bytes_beside (keepalive, gossip), bytes_all, ratio_with_beside,
    packets, messages, cover, cell_bytes, resent, gave_up, fragments, parameters, accuracy_min,
    accuracy_per_round, rounds, peers, hops, cohort_min, closed_by, models (different ones among the peers at
    the end), seconds, exchange_seconds, task, partition, seed, train_samples, test_samples.

    \b
    Examples:
      peerctl experiment encodings --data-dir ~/mnist
      peerctl experiment encodings --quick --plot /tmp/encodings.png
      peerctl experiment encodings --quick --encodings float32,int8 --rounds 5
      peerctl experiment encodings --quick --output json | jq 'map_values(.ratio)'
    """
    from ctl.experiment import plot as matplotlib  # not for other commands
    from ctl.experiment.encodings import picture, report, run

    chosen = task or (QUICK_TASK if quick else TASK)
    setting = run.Setting(
        task=chosen,
        data_dir=data_folder(chosen, data_dir),
        peers=peers,
        rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
        hops=hops,
        seed=seed,
        names=run.NAMES if encodings is None else split_names("--encodings", encodings, run.NAMES),
        patience=patience,
    )
    run.make_plan(setting)  # what cannot work is said before anything is made
    run.make_specs(setting)
    if plot is not None:
        matplotlib.check_matplotlib("leave out --plot")
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    quiet = settings.for_programs
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = aio.run(run.run(setting, shown))
    rows = report.whole(found, hops)
    if plot is not None:
        picture.draw(rows, plot)
    if quiet:
        render.print_data(rows, settings.output)
    else:
        render.show(report.shown(rows, [] if plot is None else [str(plot)]))
