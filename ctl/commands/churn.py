"""`peerctl experiment churn`: what peers that come and go cost a run."""

from __future__ import annotations

from pathlib import Path

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.targets import Settings
from ctl.text import Duration
from ctl.watch import view
from peerd.errors import NotFoundError

DEFAULT_PLOT = Path("churn.png")
SETTINGS = {False: (3, 10.0, 4.0), True: (2, 5.0, 2.5)}
"""Hops, grace and a round's training, in seconds; with --quick."""


@click.command("churn", cls=Command)
@click.option("--quick", is_flag=True, help="7 peers, 7 rounds, frozen for 8 s: a minute or two.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights, partition and batches.")
@click.option("--epochs", type=click.IntRange(min=1, max=1000), metavar="N",
              help="Local epochs.  [default: so many that a round takes seconds]")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_PLOT,
              show_default=True, help="Where the picture goes; a CSV file goes beside it.")  # fmt: skip
@click.option("--no-plot", is_flag=True, help="Neither picture nor CSV file.")
@click.option("--keep", is_flag=True, help="Leave the files of the churn run in place, logs above all.")
@click.option("--patience", type=Duration(), default=120.0, help="For daemons' start-up.  [default: 2m]")
@pass_settings
def churn(
    settings: Settings,
    /,
    quick: bool,
    seed: int,
    epochs: int | None,
    plot: Path,
    no_plot: bool,
    keep: bool,
    patience: float,
) -> None:
    """Let peers join, leave, crash, come back and freeze while they train, and see what it costs.

    Real daemons on this machine, twice: a calm run with all peers from start to end, then one of the same
    seed during which two join late, two leave politely, two are killed with `kill -9` of which one comes
    back, and one is frozen for 20 s (SIGSTOP). Each happens in a given round, so every machine plays the
    same. With --quick one joins late, one leaves, one is frozen for 8 s. Everything is ended and removed at
    the end, also on Ctrl-C.

    With --output json, one object on stdout: rounds, survivors_completed_all (who was never killed, frozen or
    drained closed every round, who joined late every one from the first that it contributed to),
    max_wait_after_death_seconds (what a round of a survivor lasted beyond the moment when it knew of a death
    and all other fragments could come), accuracy, accuracy_calm, gave_up_to_living; peers, hops, seed,
    grace_seconds, local_epochs, within_grace, within_a_point, late_joiners, survivors, longest_wait,
    gave_up_calm, accuracy_per_round, seconds, peers_detail, events, files, dir, notes.

    The picture and the CSV file have three curves over time: active peers, packets resent, messages dropped
    unacknowledged.

    \b
    Examples:
      peerctl experiment churn --quick
      peerctl experiment churn --plot /tmp/churn.png
      peerctl experiment churn --quick --output json | jq '{accuracy, accuracy_calm}'
    """
    from ctl.churn import FULL, QUICK
    from ctl.experiment import plot as matplotlib  # not for other commands
    from ctl.experiment.churn import report, run

    if not no_plot:
        matplotlib.check_matplotlib()
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    hops, grace, train = SETTINGS[quick]
    setting = run.Setting(QUICK if quick else FULL, hops, grace, train, seed, patience, epochs)
    quiet = settings.for_programs
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = aio.run(run.run(setting, keep, shown))
    files = [] if no_plot else run.write(found, setting, plot)
    result = report.whole(found, setting, files)
    if quiet:
        render.print_data(result, settings.output)
    else:
        render.show(report.shown(result))
