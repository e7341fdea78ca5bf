"""`peerctl demo`: what `make demo` runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.choices import HOPS, PRESET, STRATEGY
from ctl.defaults import NEEDS_DATA, check_task, make_spec
from ctl.demo import Script, play, summarise
from ctl.demo.play import how_to_use
from ctl.demo.tables import final
from ctl.targets import Settings, remember_testbed
from ctl.testbed import Plan
from ctl.text import Duration
from ctl.watch import view
from peerd.errors import InvalidInputError, NotFoundError

UNDRAWN = "0" * 32
"""Stands for the run id, which is drawn when the run is started."""


@click.command(cls=Command)
@click.option("--peers", type=int, default=6, show_default=True, help="Daemons to start.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--hops", type=HOPS, default=3, show_default=True, help="Mix nodes on every path.")
@click.option("--task", default="digits-cnn", show_default=True, help="digits-cnn or mnist-cnn.")
@click.option("--strategy", type=STRATEGY, default="exponential", show_default=True)
@click.option("--preset", type=PRESET, help="Mixing parameters together; goes before --strategy.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="mnist-cnn: its four IDX files.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--samples", type=int, help="A peer trains on so many a round; 0: all it has.")
@click.option("--mean-delay", type=Duration(), help="Mean delay of a hop.  [default: 50ms]")
@click.option("--keep", is_flag=True, help="Leave the daemons up and their folder in place.")
@click.option("--patience", type=Duration(), default=120.0, help="For start-up.  [default: 2m]")
@pass_settings
def demo(
    settings: Settings,
    /,
    peers: int,
    rounds: int,
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

    With --output json, one object on stdout: peers, rounds, hops, task, strategy, wall_seconds,
    round_seconds, exchange_seconds, accuracy, model, packets, bytes_on_links, rtt_seconds,
    cpu_seconds, rss_bytes; train_samples, test_samples, model_agreement, seconds (the wall time,
    split), peers_detail, notes. Sums are over all peers.

    \b
    Examples:
      peerctl demo
      peerctl demo --peers 8 --hops 4 --rounds 3 --strategy outbox
      peerctl demo --task mnist-cnn --data-dir ~/mnist --output json
      peerctl demo --keep
    """
    plan = Plan.make(peers, preset=preset, strategy=strategy, hops=hops, mean_delay_seconds=mean_delay)
    spec = make_spec(
        task,
        run_id=UNDRAWN,
        data_dir=_data_dir(task, data_dir),
        rounds=rounds,
        seed=seed,
        samples_per_round=samples,
    )
    json = settings.output == "json"
    folder = Path(tempfile.mkdtemp(prefix="peerd-demo-"))
    script = Script(plan, spec, folder, keep, patience)
    with view(render.progress_console(stderr=json), silent=json) as shown:
        outcome = aio.run(play(script, shown))
    summary = summarise(outcome.nodes, outcome.runs, outcome.agreement, outcome.seconds)
    if keep:
        remember_testbed(folder)
    if json:
        render.print_json(summary | ({"dir": str(folder)} if keep else {}))
    else:
        render.show(final(summary, list(outcome.runs.values())))
    if keep:
        for line in how_to_use(folder, list(outcome.runs)):
            click.echo(line, err=json)


def _data_dir(task: str, given: Path | None) -> str | None:
    check_task(task)
    if given is None:
        if task in NEEDS_DATA:
            raise InvalidInputError(f"{task} needs --data-dir DIR with its files")
        return None
    folder = given.expanduser().resolve()
    if not folder.is_dir():
        raise NotFoundError(f"--data-dir {given}: no such folder")
    return str(folder)
