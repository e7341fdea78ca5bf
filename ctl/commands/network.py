"""`peerctl network create|enroll|sign|show|operator`: the authority's offline commands. What it signs for
all peers to know is in `network_records`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ctl import render
from ctl.app import Command, Group, pass_settings
from ctl.commands import network_records
from ctl.commands.network_records import FOLDER, authority_of
from ctl.targets import Settings
from ctl.text import Duration, duration, number_of
from peerd.config import NetworkConfig, convert
from peerd.errors import InvalidInputError
from peerd.reading import read_bounded

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from peerd.membership import Authority

MAX_REQUEST_BYTES = 1 << 20
FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def network() -> None:
    """The network's authority: an offline key that signs peers in.

    \b
    From nothing to a running peer:
      peerctl network create ./lab --name lab              here, once
      peerd init --state-dir DIR --name alice --address 192.0.2.1:9101     on alice's host
      peerctl network sign ./lab request.json --out alice.bundle           here, with her request
      peerd join --state-dir DIR alice.bundle              on alice's host
      peerd run --state-dir DIR
    \b
    Later, told to any one running peer, from which it spreads to all:
      peerctl network revoke ./lab mallory --publish
      peerctl network delegate ./lab alice --publish       alice may then sign in others ...
      peerctl network invite                               ... who bring a token that she made
    """


for command in network_records.COMMANDS:
    network.add_command(command)


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

    The CA's key stays in DIRECTORY, readable by you alone. Keep the folder off the peers, and backed up.

    \b
    Examples:
      peerctl network create ./lab
      peerctl network create /media/stick/lab --name lab --max-hops 4 --body-bytes 16384
    """
    raw = {"name": name or directory.resolve().name, **parameters}
    if raw["epoch_grace_seconds"] is None:
        raw["epoch_grace_seconds"] = min(300.0, raw["epoch_seconds"])
    config = convert(raw, NetworkConfig, "network")
    from peerd.membership import Authority

    Authority.create(directory, config)
    if settings.for_programs:
        render.print_data({"directory": str(directory), **raw}, settings.output)
        return
    click.echo(f"Network {config.name} made in {directory}. Sign peers in with their requests:")
    click.echo(f"    peerctl network sign {directory} request.json")


@network.command("enroll", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("requests", type=click.Path(path_type=Path), nargs=-1, required=True)
@pass_settings
def enroll(settings: Settings, directory: Path, requests: tuple[Path, ...]) -> None:
    """Sign in many new peers at once, whose REQUESTS (from `peerd init`) are given: all of them or none.

    Their bundles are written to DIRECTORY/bundles: carry each to its peer and install it there with
    `peerd join`. The peers of before need no other bundle, they hear of the new ones.

    \b
    Example:
      peerctl network enroll ./lab alice.json bob.json carol.json
    """
    authority = authority_of(directory)
    bundles = authority.enroll_all([(_read(path), str(path)) for path in requests])
    paths = {bundle.name: str(directory / "bundles" / f"{bundle.name}.bundle") for bundle in bundles}
    if settings.for_programs:
        render.print_data({"enrolled": list(paths), "bundles": paths}, settings.output)
        return
    click.echo(f"Enrolled {', '.join(paths)}. Bundles to carry to their peers:")
    for path in paths.values():
        click.echo(f"    {path}")


@network.command("sign", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--out", type=FILE, help="Write the bundle there, too.")
@pass_settings
def sign(settings: Settings, directory: Path, request: Path, out: Path | None) -> None:
    """Sign in the peer whose REQUEST (from `peerd init`) is given, or renew one that is enrolled already.

    Its bundle is written to DIRECTORY/bundles/NAME.bundle: carry it to the peer and install it there with
    `peerd join`. An enrolled peer gets a new certificate, as long before the old one ends as you like.

    \b
    Example:
      peerctl network sign ./lab request.json --out alice.bundle
    """
    bundle = authority_of(directory).sign(_read(request), str(request))
    path = directory / "bundles" / f"{bundle.name}.bundle"
    if out is not None:
        _write(out, bundle.encoded)
        path = out
    until = bundle.chain[0].not_valid_after_utc
    if settings.for_programs:
        render.print_data(
            {
                "name": bundle.name,
                "peer_id": bundle.peer_id.hex(),
                "bundle": str(path),
                "valid_until": _moment(until),
            },
            settings.output,
        )
        return
    click.echo(f"Signed in {bundle.name} until {until:%F}. Carry the bundle to its host, and there:")
    click.echo(f"    peerd join --state-dir DIR {path}")


def _read(path: Path) -> bytes:
    return read_bounded(path, MAX_REQUEST_BYTES, "an enrolment request; `peerd init` writes one")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be written: {error.strerror}") from None


@network.command("show", cls=Command)
@click.argument("directory", type=FOLDER)
@pass_settings
def show(settings: Settings, directory: Path) -> None:
    """The network's parameters, who is enrolled and who was revoked, operators and CAs.

    Peers that a delegate has signed in are known to the running network alone: see `peerctl peers`.

    \b
    Example:
      peerctl network show ./lab
    """
    authority = authority_of(directory)
    if settings.for_programs:
        render.print_data(_data(authority), settings.output)
    else:
        _look(authority)


def _data(authority: Authority) -> dict[str, Any]:
    config = authority.network
    return {
        "name": config.name,
        "max_hops": config.max_hops,
        "body_bytes": config.body_bytes,
        "epoch_seconds": config.epoch_seconds,
        "epoch_grace_seconds": config.epoch_grace_seconds,
        "peers": [
            {
                "name": peer.name,
                "peer_id": peer.peer_id.hex(),
                "addresses": list(peer.descriptor.addresses),
                "valid_until": _end(peer.certificate),
                "delegate": _lasts(peer.delegation),
                "delegate_until": None if peer.delegation is None else _end(peer.delegation),
            }
            for peer in authority.peers
        ],
        "revoked": [
            {"kind": r.kind, "name": r.name, "id": r.id.hex(), "at": _moment(_utc(r.at))}
            for r in authority.revoked
        ],
        "operators": [
            {"name": o.name, "role": o.role, "valid_until": _end(o.certificate)} for o in authority.operators
        ],
        "authorities": [
            {"id": network_records.id_of(ca), "valid_until": _end(ca), "signs": number == 0}
            for number, ca in enumerate(authority.authorities)
        ],
    }


def _look(authority: Authority) -> None:
    config, data = authority.network, _data(authority)
    render.show(
        f"{config.name}: at most {config.max_hops} hops, body {config.body_bytes} bytes, "
        f"epochs of {duration(config.epoch_seconds)}, {number_of(len(authority.peers), 'peer')} enrolled"
    )
    tables: list[tuple[tuple[str, ...], list[tuple[object, ...]]]] = [
        (
            ("Peer", "Id", "Address", "Valid until", "Delegate"),
            [
                (
                    peer["name"],
                    peer["peer_id"],
                    ", ".join(peer["addresses"]),
                    peer["valid_until"],
                    f"until {peer['delegate_until']}" if peer["delegate"] else "no",
                )
                for peer in data["peers"]
            ],
        ),
        (
            ("Revoked", "Name", "Id", "At"),
            [(entry["kind"], entry["name"], entry["id"], entry["at"]) for entry in data["revoked"]],
        ),
        (
            ("Operator", "Role", "Valid until"),
            [(entry["name"], entry["role"], entry["valid_until"]) for entry in data["operators"]],
        ),
        (
            ("CA", "Valid until", "State"),
            [
                (entry["id"], entry["valid_until"], "signs" if entry["signs"] else "until rotate-ca --finish")
                for entry in data["authorities"]
            ],
        ),
    ]
    for columns, rows in tables:
        if rows:
            render.show("", render.table(columns, rows))


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _moment(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _end(certificate: Certificate) -> str:
    return _moment(certificate.not_valid_after_utc)


def _lasts(certificate: Certificate | None) -> bool:
    return certificate is not None and certificate.not_valid_after_utc > datetime.datetime.now(datetime.UTC)


@network.command("operator", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "viewer"]), default="admin", show_default=True,
              help="A viewer sees everything but models, and changes nothing.")  # fmt: skip
@click.option("--out", type=FOLDER, default=Path(), help="Folder for the files.  [default: .]")
@pass_settings
def operator(
    settings: Settings, directory: Path, name: str, role: Literal["admin", "viewer"], out: Path
) -> None:
    """Make a key and certificate with which NAME may use the control APIs over TCP, and announce runs.

    A viewer may only look; an admin may also change mixing and steer runs.

    \b
    Example:
      peerctl network operator ./lab ops --role viewer --out ./ops
      peerctl context add alice --address 192.0.2.1:9102 --operator ./ops/ops.pem
    """
    certificate = authority_of(directory).operator(name, role, out)
    if settings.for_programs:
        render.print_data(
            {
                "operator": name,
                "role": role,
                "cert": str(certificate),
                "key": str(certificate.with_suffix(".key")),
                "ca": str(certificate.with_name("ca.pem")),
            },
            settings.output,
        )
        return
    click.echo(f"{role} {name}: {certificate}, {certificate.with_suffix('.key').name} and ca.pem")
    click.echo(f"    peerctl context add PEER --address HOST:PORT --operator {certificate}")
