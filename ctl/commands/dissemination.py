"""`peerctl experiment dissemination`: what a peer sends, as the network grows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.targets import Settings
from ctl.text import Duration
from ctl.watch import view
from peerd.errors import NotFoundError

DEFAULT_PLOT = Path("dissemination.png")


class Default(NamedTuple):
    peers: str
    fanout: int
    rounds: int
    hops: int


FULL = Default("8,16,24", fanout=4, rounds=4, hops=3)
QUICK = Default("4,8", fanout=2, rounds=3, hops=2)


@click.command("dissemination", cls=Command)
@click.option("--quick", is_flag=True, help="4 and 8 peers, fanout 2, two hops: less than a minute.")
@click.option("--peers", metavar="N,N,...", help="Networks, one after the other.  [default: 8,16,24; 4,8]")
@click.option("--fanout", type=click.IntRange(min=1), help="random-k: the k.  [default: 4; --quick 2]")
@click.option("--rounds", type=click.IntRange(min=1, max=1000), help="Of each run.  [default: 4; --quick 3]")
@click.option("--hops", type=click.IntRange(min=1), help="Mix nodes on a path.  [default: 3; --quick 2]")
@click.option("--parameters", type=click.IntRange(min=1), default=20_000, show_default=True,
              help="Of the model.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the model.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_PLOT,
              show_default=True, help="Where the picture goes; a CSV file goes beside it.")  # fmt: skip
@click.option("--no-plot", is_flag=True, help="Neither picture nor CSV file.")
@click.option("--patience", type=Duration(), default=300.0, help="For daemons' start-up.  [default: 5m]")
@pass_settings
def dissemination(
    settings: Settings,
    /,
    quick: bool,
    peers: str | None,
    fanout: int | None,
    rounds: int | None,
    hops: int | None,
    parameters: int,
    seed: int,
    plot: Path,
    no_plot: bool,
    patience: float,
) -> None:
    """Count what a peer sends in a round, in networks of several sizes, with each way of dissemination.

    Real daemons on this machine, a network for each size: in each one run of the task `synthetic` with
    `--dissemination random-k`, then one with `broadcast`. There is no cover, so what is counted is of the
    run: own packets, acknowledgements, and what is passed on of both. Everything is ended and removed at the
    end, also on Ctrl-C.

    With --output json, one object on stdout: fanout, rounds, hops, parameters, cell_bytes, sizes [{peers,
    random-k, broadcast, idle_bytes_per_peer_second, memory_uss_bytes {daemons, trainers, sum}, seconds}],
    spread (of random-k's bytes, the largest distance from their mean, as a share), flat (within a tenth),
    growth_random_k and growth_broadcast (the largest network's cost in those of the smallest), files, notes;
    for each way bytes_per_peer_round, reckoned_bytes_per_peer_round, packets_per_peer_round,
    all_bytes_per_peer, fragments, resent, gave_up, exchange_seconds, accuracy, closed_by.

    \b
    Examples:
      peerctl experiment dissemination --quick
      peerctl experiment dissemination --peers 8,16,24 --fanout 4 --plot /tmp/dissemination.png
      peerctl experiment dissemination --quick --output json | jq '{spread, growth_broadcast}'
    """
    from ctl.experiment import plot as matplotlib  # not for other commands
    from ctl.experiment.dissemination import report, run

    default = QUICK if quick else FULL
    setting = run.Setting(
        run.split_sizes(peers or default.peers),
        fanout or default.fanout,
        rounds or default.rounds,
        hops or default.hops,
        parameters,
        seed,
        patience,
    )
    if not no_plot:
        matplotlib.check_matplotlib()
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    quiet = settings.for_programs
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = aio.run(run.run(setting, shown))
    cell = run.cell_size(run.make_plan(setting.sizes[0], setting))
    result = report.whole(found, setting, cell, [])
    if not no_plot:
        result |= {"files": report.write(result, plot)}
    if quiet:
        render.print_data(result, settings.output)
    else:
        render.show(report.shown(result))
