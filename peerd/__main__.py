"""`peerd`: make a peer's keys, admit it to a network, run it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop

from peerd import __version__
from peerd.backup import Content, pack, secret_file, unpack
from peerd.clock import wall
from peerd.config import parse_address
from peerd.enrolment import parse_token, redeem
from peerd.enrolment.tokens import MAX_TEXT
from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.host import ServiceManager
from peerd.membership import Bundle, Identity, PeerState
from peerd.membership.bundle import OlderBundleError
from peerd.observe import Logs
from peerd.source import Source
from peerd.store import write_atomic

OPTIONS = {
    "listen": "link.listen",
    "metrics": "metrics.listen",
    "log_format": "logging.format",
    "log_level": "logging.level",
}
"""Options of `peerd run`, and the keys that they go before."""
STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="The peer's folder: keys, bundle, replay log, run state.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="peerd")
def cli() -> None:
    """A peer of a network that trains a model over a mixnet.

    \b
    On a new host:
      peerd init --state-dir /var/lib/peerd --name alice --address 192.0.2.1:9101
      (send request.json to the network's authority, who answers with alice.bundle:
       peerctl network sign NETWORK request.json)
      peerd join --state-dir /var/lib/peerd alice.bundle
      peerd run  --state-dir /var/lib/peerd

    \b
    Or with a token that an operator of a running peer has made (peerctl network invite):
      peerd join --state-dir /var/lib/peerd --token peerd-join....

    Exit codes: 0 ok, 1 failure, 2 invalid input, 3 not found, 4 conflict, 5 unavailable, 6 denied,
    130 interrupted.
    """


@cli.command()
@STATE_DIR
@click.option("--name", required=True, help="The peer's name in the network, e.g. alice.")
@click.option("--address", required=True, help="host:port at which the others reach its links.")
def init(state_dir: Path | None, name: str, address: str) -> None:
    """Make this peer's keys and an enrolment request.

    The private keys stay in the state directory, readable by you alone. The request holds public
    keys only.

    \b
    Example:
      peerd init --state-dir /var/lib/peerd --name alice --address 192.0.2.1:9101
    """
    folder = _required(state_dir)
    parse_address(address, "--address")
    identity = Identity.create(folder, name, address)
    request = folder / "request.json"
    write_atomic(request, identity.request())
    click.echo(f"{name} is peer {identity.peer_id.hex()}")
    click.echo(f"Request written to {request}; send it to the network's authority, who signs it:")
    click.echo(f"    peerctl network sign NETWORK {request.name}")
    click.echo("and install the bundle that comes back:")
    click.echo(f"    peerd join --state-dir {folder} {name}.bundle")
    click.echo("Or, if you have a join token of a running peer:")
    click.echo(f"    peerd join --state-dir {folder} --token TOKEN")


@cli.command()
@STATE_DIR
@click.option("--token", help="Made by `peerctl network invite`; '-' reads it from standard input.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
def join(state_dir: Path | None, token: str | None, bundle: Path | None) -> None:
    """Install the BUNDLE that the network's authority made for this peer, or get one with a join token.

    A token is a secret. On the command line other users of this host may see it; with --token - they do not.

    \b
    Examples:
      peerd join --state-dir /var/lib/peerd alice.bundle
      peerd join --state-dir /var/lib/peerd --token peerd-join.abcdefghijklmnopqrstuvwxyz234567.192.0.2.1:9103
    """
    folder = _required(state_dir)
    if token is not None and bundle is None:
        installed = _redeemed(folder, token).install(folder)
    elif bundle is not None and token is None:
        installed = Bundle.load(bundle).install(folder)
    else:
        raise InvalidInputError("give either a BUNDLE or --token TOKEN")
    others = len(installed.roster) - 1
    click.echo(f"Joined {installed.network.name} as {installed.name}; other peers known so far: {others}.")
    click.echo(f"    peerd run --state-dir {folder} [--config FILE]")


def _redeemed(folder: Path, token: str) -> Bundle:
    text = sys.stdin.readline(MAX_TEXT + 1) if token == "-" else token  # noqa: S105 - no secret
    return asyncio.run(redeem(parse_token(text), Identity.load(folder)))


@cli.command()
@STATE_DIR
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="'-': standard output."
)
@click.option("--models/--no-models", default=True, help="Models and results of runs, too.  [default: yes]")
@click.option("--force", is_flag=True, help="Overwrite the file of --out.")
def backup(state_dir: Path | None, out: Path, models: bool, force: bool) -> None:
    """Write what this peer needs to come back to one file, beside a running daemon or not.

    The file holds the peer's private keys: keep it as you keep them. Mix keys, replay tags and join tokens
    are never in it; a peer that is restored makes fresh ones.

    \b
    Examples:
      peerd backup --state-dir /var/lib/peerd --out alice.backup
      peerd backup --state-dir /var/lib/peerd --no-models --out - | age -r RECIPIENT > alice.backup.age
    """
    folder = _required(state_dir)
    content = Content(folder, models)
    inside = str(out) != "-" and out.resolve().is_relative_to(folder.resolve())
    if inside and any(content.names()):
        raise InvalidInputError(
            f"--out {out}: in the state directory, over what is to be backed up; name another"
        )
    if str(out) == "-":
        made = pack(content, sys.stdout.buffer, wall())
    else:
        with secret_file(out, force) as file:
            made = pack(content, file, wall())
    size = sum(packed.bytes for packed in made.files.values())
    click.echo(
        f"Backed up {made.name}: {len(made.files)} files, {size} bytes. It holds private keys.", err=True
    )


@cli.command()
@STATE_DIR
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def restore(state_dir: Path | None, file: Path) -> None:
    """Put a peer that `peerd backup` wrote to FILE ('-': standard input) into a new or empty state directory,
    all of it or nothing.

    Never let both run, the restored peer and the one it was: the one that was started first stops.

    \b
    Examples:
      peerd restore --state-dir /var/lib/peerd alice.backup
      age -d -i KEY alice.backup.age | peerd restore --state-dir /var/lib/peerd -
    """
    folder = _required(state_dir)
    if str(file) == "-":
        made = unpack(sys.stdin.buffer, "standard input", folder)
    else:
        try:
            with file.open("rb") as archive:
                made = unpack(archive, str(file), folder)
        except FileNotFoundError:
            raise NotFoundError(f"{file}: no such backup; `peerd backup` makes one") from None
    when = datetime.datetime.fromtimestamp(made.made_at, datetime.UTC)
    click.echo(f"Restored {made.name} as of {when:%F %T} UTC: {len(made.files)} files.")
    click.echo(f"    peerd run --state-dir {folder} [--config FILE]")


@cli.command()
@STATE_DIR
@click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file; deploy/peerd.toml shows every key."
)
@click.option("--bundle", type=click.Path(path_type=Path), help="Install this bundle first.")
@click.option("--listen", help="host:port of the link listener.")
@click.option("--metrics", help="host:port of the Prometheus endpoint; '' turns it off.")
@click.option("--log-format", type=click.Choice(["console", "json"]))
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
def run(state_dir: Path | None, config: Path | None, bundle: Path | None, **options: Any) -> None:
    """Run this peer until SIGTERM or Ctrl-C. SIGHUP reads the config file again."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is a daemon that can do it
    given = {OPTIONS[name]: value for name, value in options.items() if value is not None}
    if state_dir is not None:
        given["state_dir"] = str(state_dir)
    if options["listen"] is not None:
        parse_address(options["listen"], "--listen")
    started = Source(None if config is None else config.absolute(), given).load()
    folder = _required(Path(started.config.state_dir) if started.config.state_dir else None)
    if bundle is not None:
        _install(bundle, folder)
    PeerState.load(folder)  # a missing bundle is said before anything is bound
    from peerd.daemon import serve  # only to run takes all of it; mistakes are told without

    logs = Logs(started.config.logging, state_dir=folder)
    uvloop.run(serve(started, folder, logs, ServiceManager.of(os.environ)))


def _install(bundle: Path, folder: Path) -> None:
    """Units name the same file at every start; by then this peer may have heard of something newer."""
    try:
        Bundle.load(bundle).install(folder)
    except OlderBundleError as error:
        click.echo(f"peerd: {bundle}: not installed: {error}", err=True)


def _required(state_dir: Path | None) -> Path:
    if state_dir is None:
        raise InvalidInputError("which peer? Give --state-dir, or state_dir in the config file")
    return state_dir


def _fail(error: PeerdError) -> NoReturn:
    click.echo(f"peerd: {error}", err=True)
    sys.exit(error.exit_code)


def main() -> None:
    """Entry point: expected failures are one line on stderr and a stable exit code."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            cli()
    except PeerdError as error:
        _fail(error)
    except BaseExceptionGroup as group:
        expected, rest = group.split(PeerdError)
        if rest is not None or expected is None:
            raise
        leaf: BaseException = expected
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        if isinstance(leaf, PeerdError):
            _fail(leaf)


if __name__ == "__main__":
    main()
