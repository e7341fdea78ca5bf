"""`peerctl testbed up|down|status|logs`; what is done to single peers is in a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ctl import aio, complete, render
from ctl.app import Command, Group, pass_settings
from ctl.choices import HOPS, PRESET, STRATEGY
from ctl.client import Client
from ctl.commands.testbed_peers import COMMANDS, DEFAULT_FOLDER, FOLDER, find
from ctl.fanout import fan_out
from ctl.targets import Settings, forget_testbed, remember_testbed
from ctl.testbed import Plan, Testbed, bring_up, logs
from ctl.testbed.up import bring_back
from ctl.text import Duration, printable
from peerd.config import load
from peerd.errors import ConflictError, NotFoundError

DEFAULT_PEERS = 6


@click.group(cls=Group)
def testbed() -> None:
    """Real daemons on this machine, to experiment with.

    \b
    Example:
      peerctl testbed up --peers 6
      peerctl --all status
      peerctl --all run start --wait
      peerctl testbed logs -f alice
      peerctl testbed kill bob
      peerctl testbed add zoe
      peerctl testbed down
    """


for command in COMMANDS:
    testbed.add_command(command)


@testbed.command("up", cls=Command)
@FOLDER
@click.option("--peers", type=int, help=f"How many.  [default: {DEFAULT_PEERS}]")
@click.option("--preset", type=PRESET, help="Mixing parameters together; others go over it.")
@click.option("--strategy", type=STRATEGY, help="How packets are mixed.  [default: exponential]")
@click.option("--hops", type=HOPS, help="Mix nodes on every own path.")
@click.option("--mean-delay", "mean_delay_seconds", type=Duration(), help="Mean delay of a hop.")
@click.option("--loop-rate", "loop_rate_per_second", type=float, help="Loop cover a second.")
@click.option("--drop-rate", "drop_rate_per_second", type=float, help="Drop cover a second.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A daemon's TOML file, for everything else.",
)
@click.option("--epoch", type=Duration(), help="Mix keys rotate so often.  [default: 1h]")
@click.option("--fresh", is_flag=True, help="Replace a testbed that lies there and is down.")
@click.option("--patience", type=Duration(), default=120.0, help="For start-up.  [default: 2m]")
@pass_settings
def up(
    settings: Settings,
    /,
    folder: Path | None,
    peers: int | None,
    config: Path | None,
    fresh: bool,
    patience: float,
    epoch: float | None,
    **mixing: Any,
) -> None:
    """Make a network of daemons in a folder and start them, or start those that are down.

    Returns when every peer sees all others. When it cannot, nothing is left running. From then on
    names are those of this testbed, until `testbed down`.

    \b
    Examples:
      peerctl testbed up
      peerctl testbed up --dir /tmp/lab --peers 10 --strategy outbox --hops 4
      peerctl testbed up --fresh --peers 8
    """
    folder = (folder or settings.testbed or DEFAULT_FOLDER).resolve()
    existing = _existing(folder, fresh)
    count = peers or (len(existing.peers) if existing else DEFAULT_PEERS)
    plan = Plan.make(count, load(config) if config else None, epoch_seconds=epoch, **mixing)

    def progress(text: str, complete: bool) -> None:
        if complete and not settings.for_programs:
            click.echo(text)

    if existing is None:
        made = aio.run(bring_up(folder, plan, patience, progress))
    else:
        aio.run(bring_back(existing, plan, patience, progress))
        made = existing
    remembered = remember_testbed(folder)
    if settings.for_programs:
        render.print_data({"dir": str(folder), "peers": [peer.name for peer in made.peers]}, settings.output)
        return
    option = "" if remembered else f" --testbed {folder}"
    click.echo(f"Up in {folder}. Now:")
    for command in ("--all status", "--all run start --wait", "testbed down"):
        click.echo(f"    peerctl{option} {command}")


def _existing(folder: Path, fresh: bool) -> Testbed | None:
    try:
        found = Testbed.load(folder)
    except NotFoundError:
        return None
    if not fresh:
        return found
    if found.running:
        raise ConflictError(f"{folder}: {', '.join(found.running)} run; `peerctl testbed down` first")
    found.remove()
    return None


@testbed.command("down", cls=Command)
@FOLDER
@click.option("--delete", is_flag=True, help="Delete its files, too.")
@pass_settings
def down(settings: Settings, folder: Path | None, delete: bool) -> None:
    """End every daemon of the testbed: SIGTERM, and after ten seconds SIGKILL.

    \b
    Examples:
      peerctl testbed down
      peerctl testbed down --dir /tmp/lab --delete
    """
    found = find(settings, folder)
    running = found.running
    killed = found.down()
    forget_testbed(found.folder)
    if delete:
        found.remove()
    if settings.for_programs:
        render.print_data({"dir": str(found.folder), "ended": running, "killed": killed}, settings.output)
        return
    click.echo(f"Ended {', '.join(running) or 'nothing: all were down'} ({found.folder})")
    if killed:
        click.echo(f"Had to be killed: {', '.join(killed)}")


@testbed.command("status", cls=Command)
@FOLDER
@pass_settings
def status(settings: Settings, folder: Path | None) -> None:
    """Which daemons of the testbed run, and whether they serve.

    \b
    Example:
      peerctl testbed status
    """
    found = find(settings, folder)
    running = set(found.running)
    frozen = {peer.name for peer in found.peers if peer.frozen}  # would not answer
    endpoints = [e for e in found.endpoints if e.name in running - frozen]
    answers = aio.run(fan_out(endpoints, Client.serving, settings.timeout))
    serving = {answer.name for answer in answers.good if answer.value}
    rows = [
        {
            "name": peer.name,
            "state": _state(peer.alive, peer.name in frozen, peer.name in serving),
            "pid": peer.process.pid if peer.process and peer.alive else None,
            "address": peer.address,
            "control": f"unix:{peer.socket}",
            "log": str(found.log(peer.name)),
        }
        for peer in found.peers
    ]
    if settings.for_programs:
        render.print_data({"dir": str(found.folder), "peers": rows}, settings.output)
        return
    cells = [
        (row["name"], row["state"], row["pid"] or "", row["address"],
         _within(peer.socket, found), _within(found.log(peer.name), found))
        for row, peer in zip(rows, found.peers, strict=True)
    ]  # fmt: skip
    columns = ("Peer", "State", "Pid#", "Links at", "Control", "Log")
    render.show(str(found.folder), render.fitting(columns, cells, ("Log", "Control")))


def _state(alive: bool, frozen: bool, serving: bool) -> str:
    if not alive:
        return "down"
    return "frozen" if frozen else "up" if serving else "starting"


def _within(path: str | Path, testbed: Testbed) -> str:
    """Relative to the testbed's folder, if it lies there."""
    found = Path(path)
    return str(found.relative_to(testbed.folder) if found.is_relative_to(testbed.folder) else found)


@testbed.command("logs", cls=Command)
@FOLDER
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=20, show_default=True,
              help="So many of each.")  # fmt: skip
@click.argument("names", nargs=-1, shell_complete=complete.testbed_peer)
@pass_settings
def show_logs(
    settings: Settings, folder: Path | None, follow: bool, lines: int, names: tuple[str, ...]
) -> None:
    """The last lines of the daemons' logs, of all or of NAMES.

    \b
    Examples:
      peerctl testbed logs
      peerctl testbed logs -f alice bob
    """
    found = find(settings, folder)
    peers = [found.peer(name) for name in names] or found.peers
    chosen = {peer.name: found.log(peer.name) for peer in peers}
    width = max(len(name) for name in chosen) if len(chosen) > 1 else 0

    def write(name: str, line: str) -> None:
        prefix = f"{name:<{width}} | " if width else ""
        click.echo(f"{prefix}{printable(line)}")

    logs.show(chosen, lines, write)
    if follow:
        aio.run(logs.follow(chosen, write))
