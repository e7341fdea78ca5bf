"""`peerctl demo`: what `make demo` runs."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from ctl import aio, complete, render
from ctl.app import Command, pass_settings
from ctl.choices import HOPS, PRESET, STRATEGY
from ctl.churn import demo_schedule
from ctl.churn.schedule import DEMO_PEERS, DEMO_ROUNDS
from ctl.defaults import data_folder, make_spec
from ctl.demo import Script, play, summarise
from ctl.demo.play import how_to_use
from ctl.demo.tables import final
from ctl.targets import Settings, remember_testbed
from ctl.testbed import Plan
from ctl.text import Duration
from ctl.watch import view

PEERS, ROUNDS = 6, 5
UNDRAWN = "0" * 32
"""Stands for the run id, which is drawn when the run is started."""


@click.command(cls=Command)
@click.option("--peers", type=int, help="Daemons to start.  [default: 6; --churn 8]")
@click.option("--rounds", type=int, help="[default: 5; --churn 8]")
@click.option("--churn", "churning", is_flag=True, help="Two peers join late, one leaves, one crashes.")
@click.option("--hops", type=HOPS, default=3, show_default=True, help="Mix nodes on every path.")
@click.option(
    "--task",
    default="digits-cnn",
    show_default=True,
    shell_complete=complete.task,
    help="digits-cnn or mnist-cnn.",
)
@click.option("--strategy", type=STRATEGY, default="exponential", show_default=True,
              help="How packets are mixed.")  # fmt: skip
@click.option("--preset", type=PRESET, help="Mixing parameters together; goes before --strategy.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="mnist-cnn: its four IDX files.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of weights, partition and batches.")
@click.option("--samples", type=int, help="A peer trains on so many a round; 0: all it has.")
@click.option("--mean-delay", type=Duration(), help="Mean delay of a hop.  [default: 50ms]")
@click.option("--keep", is_flag=True, help="Leave the daemons up and their folder in place.")
@click.option("--patience", type=Duration(), default=120.0, help="For start-up.  [default: 2m]")
@pass_settings
def demo(
    settings: Settings,
    /,
    peers: int | None,
    rounds: int | None,
    churning: bool,
    hops: int,
    task: str,
    strategy: str,
    preset: str | None,
    data_dir: Path | None,
    seed: int,
    samples: int | None,
    mean_delay: float | None,
    keep: bool,
    patience: float,
) -> None:
    """Start peers on this machine, let them train over the mixnet, show what came of it.

    Real daemons in a throw-away network: every model fragment travels over its own path of mix nodes,
    is acknowledged by a SURB, resent if lost, and averaged without anyone knowing whose it was. Ends
    all of them, also on Ctrl-C and on failure.

    With --churn two of the peers join while the others train, one leaves politely and one is killed: lines
    tell what happens and what another peer makes of it. Figures are then of those that are there at the end.

    With --output json, one object on stdout: peers, rounds, hops, task, strategy, wall_seconds,
    round_seconds, exchange_seconds, accuracy, model, packets, bytes_on_links, rtt_seconds,
    cpu_seconds, rss_bytes; train_samples, test_samples, model_agreement, seconds (the wall time,
    split), peers_detail, notes; with --churn also churn: [{at, round, what, peer}]. Sums are over all peers.

    \b
    Examples:
      peerctl demo
      peerctl demo --peers 8 --hops 4 --rounds 3 --strategy outbox
      peerctl demo --task mnist-cnn --data-dir ~/mnist --output json
      peerctl demo --churn
      peerctl demo --keep
    """
    peers = peers if peers is not None else DEMO_PEERS if churning else PEERS
    rounds = rounds if rounds is not None else DEMO_ROUNDS if churning else ROUNDS
    schedule = demo_schedule(peers, rounds, hops) if churning else None
    late = () if schedule is None else schedule.late
    plan = Plan.make(
        peers, preset=preset, late=late, strategy=strategy, hops=hops, mean_delay_seconds=mean_delay
    )
    spec = make_spec(
        task,
        run_id=UNDRAWN,
        data_dir=data_folder(task, data_dir),
        rounds=rounds,
        seed=seed,
        samples_per_round=samples,
        shards=None if schedule is None else peers,
    )
    quiet = settings.for_programs
    folder = Path(tempfile.mkdtemp(prefix="peerd-demo-"))
    script = Script(plan, spec, folder, keep, patience, schedule)
    with view(render.progress_console(stderr=quiet), silent=quiet) as shown:
        outcome = aio.run(play(script, shown))
    summary = summarise(outcome.nodes, outcome.runs, outcome.agreement, outcome.seconds)
    if schedule is not None:
        summary["churn"] = [asdict(one) for one in outcome.happened]
        gone = set(schedule.names) - set(outcome.runs)
        summary["notes"].append(f"{' and '.join(sorted(gone))} went: what they did is in no figure")
    if keep:
        remember_testbed(folder)
    if quiet:
        render.print_data(summary | ({"dir": str(folder)} if keep else {}), settings.output)
    else:
        render.show(final(summary, list(outcome.runs.values())))
    if keep:
        for line in how_to_use(folder, list(outcome.runs)):
            click.echo(line, err=quiet)
