"""`peerctl experiment`: attack here, the others in modules of their own."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ctl import render
from ctl.app import Command, Group, pass_settings
from ctl.choices import HOPS
from ctl.commands.churn import churn
from ctl.commands.dissemination import dissemination
from ctl.commands.encodings import encodings
from ctl.commands.linking import linking
from ctl.commands.poison import poison
from ctl.targets import Settings
from ctl.text import Duration
from ctl.watch import view
from peerd.errors import InvalidInputError, NotFoundError

QUICK = {"peers": 10, "rounds": 4, "fragments": 5}
FULL = {"peers": 20, "rounds": 5, "fragments": 4}
TESTBED = {"peers": 6, "rounds": 4}
DEFAULT_PLOT = Path("attack.png")


@click.group(cls=Group)
def experiment() -> None:
    """Measure what the mixnet is worth, what churn, encodings and false updates cost, what a peer sends as
    the network grows, and what content gives away.

    \b
    Examples:
      peerctl experiment attack --quick
      peerctl experiment churn --quick
      peerctl experiment dissemination --quick
      peerctl experiment linking --quick
      peerctl experiment encodings --quick
      peerctl experiment poison --quick
    """


experiment.add_command(churn)
experiment.add_command(dissemination)
experiment.add_command(linking)
experiment.add_command(encodings)
experiment.add_command(poison)


@experiment.command("attack", cls=Command)
@click.option("--quick", is_flag=True, help="10 peers, every strategy and preset once: minutes.")
@click.option("--peers", type=click.IntRange(min=4, max=256), help="[default: 20; --quick 10; --testbed 6]")
@click.option("--rounds", type=click.IntRange(min=1), help="Rounds of learning.  [default: 5; --quick 4]")
@click.option("--fragments", type=click.IntRange(min=1), help="To each other peer, a round.  [default: 4; 5]")
@click.option("--hops", type=HOPS, default=3, show_default=True, help="Mix nodes on every path.")
@click.option("--corrupt", type=click.FloatRange(0.0, 1.0), default=0.2, show_default=True,
              help="Share of the mix nodes that the second adversary owns; 0: none.")  # fmt: skip
@click.option("--strategies", metavar="A,B,...", help="Rows, by name (see below).  [default: all]")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same figures.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), default=DEFAULT_PLOT,
              show_default=True, help="Where the picture goes; a CSV file goes beside it.")  # fmt: skip
@click.option("--no-plot", is_flag=True, help="Neither picture nor CSV file.")
@click.option("--testbed", "daemons", is_flag=True, help="Real daemons on this machine, training digits-cnn.")
@click.option("--patience", type=Duration(), default=120.0, help="For daemons' start-up.  [default: 2m]")
@pass_settings
def attack(
    settings: Settings,
    /,
    quick: bool,
    peers: int | None,
    rounds: int | None,
    fragments: int | None,
    hops: int,
    corrupt: float,
    strategies: str | None,
    seed: int,
    plot: Path,
    no_plot: bool,
    daemons: bool,
    patience: float,
) -> None:
    """Let an adversary who sees every cell on every link guess who sent what.

    The network runs in the simulator (the daemons' own cores, real packets, virtual time): every round
    each peer sends fragments to all others in a burst after training, at its own moment. For each
    fragment that is delivered the adversary, who knows that its recipient got one then, traces it back
    through the mix nodes and its acknowledgement forth, by times alone, and says who sent it. A second
    adversary also owns some of the mix nodes. Chance is 1 / (peers - 1).

    With --output json, one object on stdout: peers, chance, ideal_bits, reachable_bits, strategies
    {NAME: {guess_rate, guess_interval, entropy_bits, surprise_bits, ideal_bits, meter_bits, challenges,
    message_only, counting, echo, strongest, corrupt, linked, linked_exclusion, ...}}, notes.
    Compare entropy_bits with surprise_bits: equal where the adversary's doubts are justified.

    \b
    Names of rows:
      none  threshold  timed  pool  outbox  exponential    strategies, as configured by default
      fast  balanced  strong                               presets
      direct                                               no mix nodes at all
      exponential-200ms  timed-1s  pool-300ms  outbox-5ms  another delay or interval
      threshold-32                                         another size of batch
      exponential-200ms-send20-loop2-drop0                 other rates, packets per second

    \b
    Examples:
      peerctl experiment attack --quick
      peerctl experiment attack --quick --strategies none,strong --plot /tmp/two.png
      peerctl experiment attack --peers 15 --corrupt 0.4 --strategies exponential,exponential-500ms
      peerctl experiment attack --testbed --strategies none,exponential
      peerctl experiment attack --quick --output json | jq .strategies.strong
    """
    from ctl.experiment import attack as one_row  # with numpy: not for other commands
    from ctl.experiment import plot as picture
    from ctl.experiment import report, rows, run

    preset = TESTBED if daemons else QUICK if quick else FULL
    if daemons and fragments is not None:
        raise InvalidInputError("--fragments: with --testbed the model decides how many there are")
    frame = report.Frame(
        peers=peers or preset["peers"],
        hops=hops,
        rounds=rounds or preset["rounds"],
        fragments=None if daemons else fragments or preset["fragments"],
        corrupt=corrupt,
        seed=seed,
        source="testbed" if daemons else "simulator",
    )
    default = rows.PLAIN if daemons else rows.QUICK if quick else rows.FULL
    names = rows.split_names(strategies) if strategies is not None else default
    configs = {name: rows.make_row(name, hops) for name in names}
    one_row.check_peers(frame.peers, hops, corrupt)
    if not no_plot:
        picture.check_matplotlib()
        if not plot.parent.is_dir():
            raise NotFoundError(f"--plot {plot}: no such folder")
    quiet = settings.for_programs
    begun = time.monotonic()
    with view(render.progress_console(stderr=True), silent=quiet) as shown:
        found = run.run(frame, configs, patience, shown)
    result = report.whole(frame, found, time.monotonic() - begun)
    files = [] if no_plot else run.write(result, plot)
    if quiet:
        render.print_data(result | {"files": files}, settings.output)
    else:
        render.show(report.shown(result, files))
