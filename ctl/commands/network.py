"""`peerctl network create|enroll|show|operator`: the authority's offline commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ctl import render
from ctl.app import Command, Group, pass_settings
from ctl.targets import Settings
from ctl.text import Duration, duration
from peerd.config import NetworkConfig, convert
from peerd.errors import InvalidInputError, NotFoundError, PeerdError

if TYPE_CHECKING:
    from peerd.membership import Authority

FOLDER = click.Path(path_type=Path, file_okay=False)
MAX_REQUEST_BYTES = 1 << 20


def _authority() -> type[Authority]:
    """Imported when it is needed: its cryptography doubles the time that `peerctl status` takes."""
    from peerd.membership import Authority

    return Authority


@click.group(cls=Group)
def network() -> None:
    """The network's authority: an offline key that signs peers in.

    \b
    From nothing to a running peer:
      peerctl network create ./lab --name lab              here, once
      peerd init --state-dir DIR --name alice --address 192.0.2.1:9101     on alice's host
      peerctl network enroll ./lab alice.json bob.json     here, with the requests
      peerd join --state-dir DIR alice.bundle              on alice's host
      peerd run --state-dir DIR
    """


@network.command("create", cls=Command)
@click.argument("directory", type=FOLDER)
@click.option("--name", help="Of the network.  [default: the folder's name]")
@click.option("--max-hops", type=int, default=5, show_default=True, help="Room in every header.")
@click.option("--body-bytes", type=int, default=8192, show_default=True, help="Sphinx body of every packet.")
@click.option(
    "--epoch",
    "epoch_seconds",
    type=Duration(),
    default=3600.0,
    help="Mix keys rotate so often.  [default: 1h]",
)
@click.option(
    "--grace",
    "epoch_grace_seconds",
    type=Duration(),
    help="A mix key is accepted so long before and after its epoch.  [default: 5m, at most the epoch]",
)
@pass_settings
def create(settings: Settings, /, directory: Path, name: str | None, **parameters: Any) -> None:
    """Make a network: its CA and its parameters, in DIRECTORY.

    The CA's key stays in DIRECTORY, readable by you alone. Keep the folder off the peers.

    \b
    Examples:
      peerctl network create ./lab
      peerctl network create /media/stick/lab --name lab --max-hops 4 --body-bytes 16384
    """
    raw = {"name": name or directory.resolve().name, **parameters}
    if raw["epoch_grace_seconds"] is None:
        raw["epoch_grace_seconds"] = min(300.0, raw["epoch_seconds"])
    config = convert(raw, NetworkConfig, "network")
    _authority().create(directory, config)
    if settings.output == "json":
        render.print_json({"directory": str(directory), **raw})
        return
    click.echo(f"Network {config.name} made in {directory}. Enrol peers with their requests:")
    click.echo(f"    peerctl network enroll {directory} request.json")


@network.command("enroll", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("requests", type=click.Path(path_type=Path), nargs=-1, required=True)
@pass_settings
def enroll(settings: Settings, directory: Path, requests: tuple[Path, ...]) -> None:
    """Sign in the peers whose REQUESTS (from `peerd init`) are given.

    Everybody's bundle is written anew with the whole roster, in DIRECTORY/bundles: carry each to its
    peer and install it there with `peerd join`.

    \b
    Example:
      peerctl network enroll ./lab alice.json bob.json carol.json
    """
    authority = _authority().load(directory)
    contents = [(path, _read(path)) for path in requests]
    enrolled: list[str] = []
    for path, content in contents:
        try:
            bundle = authority.enroll(content, str(path))
        except PeerdError as error:
            done = f" (enrolled before it: {', '.join(enrolled)})" if enrolled else ""
            raise type(error)(f"{error}{done}") from None
        enrolled += [peer.name for peer in bundle.roster if peer.peer_id.hex() == bundle.peer_id]
    bundles = {peer.name: _bundle(directory, peer.name) for peer in authority.roster()}
    if settings.output == "json":
        paths = {name: str(path) for name, path in bundles.items()}
        render.print_json({"enrolled": enrolled, "bundles": paths})
        return
    click.echo(f"Enrolled {', '.join(enrolled)}. Bundles to carry to their peers:")
    for path in bundles.values():
        click.echo(f"    {path}")


def _bundle(directory: Path, name: str) -> Path:
    return directory / "bundles" / f"{name}.bundle"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_REQUEST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such request; `peerd init` writes one") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_REQUEST_BYTES:
        raise InvalidInputError(f"{path}: too large for an enrolment request")
    return content


@network.command("show", cls=Command)
@click.argument("directory", type=FOLDER)
@pass_settings
def show(settings: Settings, directory: Path) -> None:
    """The network's parameters and who is enrolled.

    \b
    Example:
      peerctl network show ./lab
    """
    authority = _authority().load(directory)
    config, roster = authority.network, authority.roster()
    if settings.output == "json":
        peers = [{"name": p.name, "peer_id": p.peer_id.hex(), "addresses": list(p.addresses)} for p in roster]
        render.print_json(
            {
                "name": config.name,
                "max_hops": config.max_hops,
                "body_bytes": config.body_bytes,
                "epoch_seconds": config.epoch_seconds,
                "epoch_grace_seconds": config.epoch_grace_seconds,
                "peers": peers,
            }
        )
        return
    render.show(
        f"{config.name}: at most {config.max_hops} hops, body {config.body_bytes} bytes, "
        f"epochs of {duration(config.epoch_seconds)}, {len(roster)} peers enrolled"
    )
    rows = [(peer.name, peer.peer_id.hex(), ", ".join(peer.addresses)) for peer in roster]
    if rows:
        render.show(render.table(("Peer", "Id", "Address"), rows))


@network.command("operator", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "viewer"]), default="admin", show_default=True)
@click.option("--out", type=FOLDER, default=Path(), help="Folder for the files.  [default: .]")
@pass_settings
def operator(
    settings: Settings, directory: Path, name: str, role: Literal["admin", "viewer"], out: Path
) -> None:
    """Make a key and certificate with which NAME may use the control APIs over TCP.

    A viewer may only look; an admin may also change mixing and steer runs.

    \b
    Example:
      peerctl network operator ./lab ops --role viewer --out ./ops
      peerctl context add alice --address 192.0.2.1:9102 --operator ./ops/ops.pem
    """
    certificate = _authority().load(directory).operator(name, role, out)
    if settings.output == "json":
        render.print_json(
            {
                "operator": name,
                "role": role,
                "cert": str(certificate),
                "key": str(certificate.with_suffix(".key")),
                "ca": str(certificate.with_name("ca.pem")),
            }
        )
        return
    click.echo(f"{role} {name}: {certificate}, {certificate.with_suffix('.key').name} and ca.pem")
    click.echo(f"    peerctl context add PEER --address HOST:PORT --operator {certificate}")
