"""`peerctl testbed add|kill|stop|start|freeze|thaw`: single peers of a testbed, for experiments."""

from __future__ import annotations

from pathlib import Path

import click

from ctl import aio, complete, draining, render
from ctl.app import Command, pass_settings
from ctl.targets import Settings, remembered_testbed
from ctl.testbed import Plan, Testbed
from ctl.testbed.readiness import Progress
from ctl.testbed.up import bring_back_one, grow
from ctl.text import Duration
from ctl.watch import Silent
from peerd.config import load
from peerd.errors import ConflictError

DEFAULT_FOLDER = Path("testbed")
FOLDER = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The testbed's folder.  [default: the running one, or ./testbed]",
)
NAME = click.argument("name", shell_complete=complete.testbed_peer)
PATIENCE = click.option("--patience", type=Duration(), default=60.0, help="For start-up.  [default: 1m]")
END_SECONDS = 20.0
"""A daemon that has drained ends within this."""


@click.command("add", cls=Command)
@FOLDER
@click.argument("name")
@PATIENCE
@pass_settings
def add(settings: Settings, folder: Path | None, name: str, patience: float) -> None:
    """Enrol a further peer NAME and start it, configured as the first one is.

    No other peer is given anything: it calls those that its own bundle names, and the network hears of it by
    gossip. A run that was announced reaches it, too. Returns when all see each other.

    \b
    Examples:
      peerctl testbed add zoe
      peerctl --context zoe peers
    """
    found = find(settings, folder)
    if not found.running:
        raise ConflictError(f"{found.folder} is down; `peerctl testbed up` first")
    plan = _plan(found, len(found.peers) + 1)
    aio.run(grow(found, plan, name, patience, _progress(settings)))
    _said(settings, found, name, "up", f"{name} is up, and all see each other")


@click.command("kill", cls=Command)
@FOLDER
@NAME
@pass_settings
def kill(settings: Settings, folder: Path | None, name: str) -> None:
    """SIGKILL to the daemon of NAME: it writes nothing more and tells nobody.

    \b
    Example:
      peerctl testbed kill bob
    """
    found = find(settings, folder)
    found.kill(name)
    _said(settings, found, name, "down", f"{name} is killed; `peerctl testbed start {name}` brings it back")


@click.command("stop", cls=Command)
@FOLDER
@NAME
@click.option("--term", is_flag=True, help="SIGTERM at once, without draining.")
@click.option("--timeout", "patience", type=Duration(positive=True), default=60.0,
              help="For draining.  [default: 1m]")  # fmt: skip
@pass_settings
def stop(settings: Settings, folder: Path | None, name: str, term: bool, patience: float) -> None:
    """End the daemon of NAME politely, as `node drain` does; what does not drain is ended by SIGTERM.

    \b
    Examples:
      peerctl testbed stop bob
      peerctl testbed stop bob --term
    """
    found = find(settings, folder)
    polite = not term and aio.run(_drain(found, name, patience))
    if not polite:
        found.end([name])
    how = "has drained and ended" if polite else "has ended" if term else "did not drain; it was ended"
    _said(settings, found, name, "down", f"{name} {how}")


async def _drain(found: Testbed, name: str, patience: float) -> bool:
    """Whether it has left of its own accord."""
    endpoint = found.running_peer(name).endpoint
    answers = await draining.drain([endpoint], patience, False, Silent())
    drained = any(answer.value.state == draining.DRAINED for answer in answers.good)
    return drained and await found.wait_gone(name, END_SECONDS)


@click.command("start", cls=Command)
@FOLDER
@NAME
@PATIENCE
@pass_settings
def start(settings: Settings, folder: Path | None, name: str, patience: float) -> None:
    """Start the daemon of NAME, which is down: it was killed or stopped, or never ran yet.

    Returns when it and the others see each other.

    \b
    Example:
      peerctl testbed start bob
    """
    found = find(settings, folder)
    if found.peer(name).alive:
        raise ConflictError(f"{name} runs already")
    plan = _plan(found, len(found.peers))
    aio.run(bring_back_one(found, plan, name, patience, _progress(settings)))
    _said(settings, found, name, "up", f"{name} is up, and all see each other")


@click.command("freeze", cls=Command)
@FOLDER
@NAME
@pass_settings
def freeze(settings: Settings, folder: Path | None, name: str) -> None:
    """SIGSTOP to the daemon of NAME and its trainer: the connections stay, nothing moves.

    \b
    Example:
      peerctl testbed freeze bob
      sleep 20
      peerctl testbed thaw bob
    """
    found = find(settings, folder)
    found.freeze(name)
    _said(settings, found, name, "frozen", f"{name} is frozen; `peerctl testbed thaw {name}` lets it go on")


@click.command("thaw", cls=Command)
@FOLDER
@NAME
@pass_settings
def thaw(settings: Settings, folder: Path | None, name: str) -> None:
    """SIGCONT to the daemon of NAME and its trainer, which were frozen.

    \b
    Example:
      peerctl testbed thaw bob
    """
    found = find(settings, folder)
    found.thaw(name)
    _said(settings, found, name, "up", f"{name} goes on")


COMMANDS = (add, kill, stop, start, freeze, thaw)


def find(settings: Settings, folder: Path | None) -> Testbed:
    """That of `--dir`, `--testbed`, the last one brought up, or ./testbed."""
    return Testbed.load(folder or settings.testbed or remembered_testbed() or DEFAULT_FOLDER)


def _plan(found: Testbed, peers: int) -> Plan:
    """Configured as the first peer that ever ran."""
    files = [found.config_file(peer.name) for peer in found.peers]
    base = next((load(file) for file in files if file.is_file()), None)
    return Plan.make(peers, base)


def _progress(settings: Settings) -> Progress:
    def progress(text: str, complete: bool) -> None:
        if complete and not settings.for_programs:
            click.echo(text)

    return progress


def _said(settings: Settings, found: Testbed, name: str, state: str, text: str) -> None:
    if settings.for_programs:
        render.print_data({"dir": str(found.folder), "peer": name, "state": state}, settings.output)
    else:
        click.echo(text)
