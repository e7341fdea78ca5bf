"""`peerctl experiment linking`: what a curious recipient links by content, and what a share bounds."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ctl import render
from ctl.app import Command, pass_settings
from ctl.targets import Settings
from ctl.watch import view
from peerd.errors import NotFoundError

QUICK = {"peers": 9, "rounds": 3, "seeds": 2, "shadows": 16}
FULL = {"peers": 13, "rounds": 5, "seeds": 3, "shadows": 32}


@click.command("linking", cls=Command)
@click.option("--quick", is_flag=True, help="9 peers, 3 rounds, 2 seeds, few rows: a minute.")
@click.option("--task", default="digits-cnn", show_default=True, help="As `peerctl task list` names it.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the task's files are.")
@click.option("--peers", type=click.IntRange(4, 64), help="[default: 13; --quick 9]")
@click.option("--rounds", type=click.IntRange(2, 100), help="Of learning.  [default: 5; --quick 3]")
@click.option("--shadows", type=click.IntRange(2, 1000),
              help="Peers that the attacker trains himself.  [default: 32; --quick 16]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), help="Runs of each row.  [default: 3; --quick 2]")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The first of them.")
@click.option("--sent", metavar="A,B,...", help="Ways of sending (see below).  [default: all]")
@click.option(
    "--partitions", metavar="A,B,...", help="Of the samples.  [default: iid,dirichlet0.5,dirichlet0.1]"
)
@click.option("--body-bytes", type=int, default=8192, show_default=True,
              help="Of every packet, as in `network create`; small ones make more fragments.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it into this PNG file.")
@pass_settings
def linking(
    settings: Settings,
    /,
    quick: bool,
    task: str,
    data_dir: Path | None,
    peers: int | None,
    rounds: int | None,
    shadows: int | None,
    seeds: int | None,
    seed: int,
    sent: str | None,
    partitions: str | None,
    body_bytes: int,
    plot: Path | None,
) -> None:
    """Let a curious recipient link the anonymous fragments that it receives, by their content.

    Real learners train through the daemons' own rounds, encodings and dealing; only the mixnet is left out,
    as if it hid every sender. Each peer in turn is curious: it links fragments of one round across indices
    (also by shadows, peers that it trains itself on data that no peer has), of one index across rounds,
    and chains both to put senders' updates together; the first also has the data of a target, and picks the
    fragments that are like what it trains on them itself. Without --quick it takes about a quarter of an
    hour of one core.

    With --output json, one object on stdout: task, peers, rounds, seeds, body_bytes, shadows, rows
    [{partition, sent, spec, fragments, figures {NAME: {mean, low, high}}}], notes, wall_seconds, files. NAME
    is held.update|most|ever (part of an update that came, its largest, and of its indices those that ever
    came), norm|shape|shadows|across|attribution.right|if_there|chance (links),
    assembled|drawn|attribution.update|most (parts put together), assembled|drawn.portrait (the same of
    whatever rounds), accuracy.

    \b
    Ways of sending:
      share1  share0.5  share0.25      the part of every update that each recipient gets
      random4                          every fragment to four peers
      float16  int8  top-k  delta ...  encodings; several together: share0.25+int8
    \b
    Examples:
      peerctl experiment linking --quick
      peerctl experiment linking --sent share1,share0.25 --body-bytes 2048 --plot linking.png
      peerctl experiment linking --task mnist-cnn --data-dir ~/mnist --peers 9 --partitions iid
      peerctl experiment linking --quick --output json | jq '.rows[].figures."assembled.update"'
    """
    from ctl.experiment import plot as matplotlib  # with numpy: not for other commands
    from ctl.linking import plot as picture
    from ctl.linking import report, rows, run

    preset = QUICK if quick else FULL
    frame = rows.Frame(
        task=task,
        data_dir="" if data_dir is None else str(data_dir.expanduser().resolve()),
        peers=peers or preset["peers"],
        rounds=rounds or preset["rounds"],
        seeds=seeds or preset["seeds"],
        seed=seed,
        body_bytes=body_bytes,
        shadows=shadows or preset["shadows"],
    )
    ways = rows.split_names("--sent", sent or ",".join(rows.QUICK if quick else rows.FULL))
    parts = rows.split_names(
        "--partitions", partitions or ",".join(rows.QUICK_PARTITIONS if quick else rows.PARTITIONS)
    )
    chosen = rows.make_rows(parts, ways, frame)
    run.payload_of(body_bytes)
    if plot is not None:
        matplotlib.check_matplotlib("leave out --plot")
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    quiet = settings.for_programs
    begun = time.monotonic()
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = run.run(frame, chosen, str(Path.cwd()), shown)
    result = report.whole(frame, found, time.monotonic() - begun)
    files = [] if plot is None else [str(plot)]
    if plot is not None:
        picture.draw(result, plot)
    if quiet:
        render.print_data(result | {"files": files}, settings.output)
    else:
        render.show(report.shown(result, files))
