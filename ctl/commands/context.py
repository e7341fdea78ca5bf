"""`peerctl context add|list|use|operator|remove`"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from ctl import complete, render
from ctl.app import Command, Group, pass_settings
from ctl.contexts import UNIX, Contexts, Endpoint, Tls, default_path, operator_tls, unix_address
from ctl.targets import Settings, effective
from peerd.config import parse_address
from peerd.errors import ConflictError, InvalidInputError, NotFoundError

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(cls=Group)
def context() -> None:
    """Named endpoints, kept in $PEERCTL_CONTEXTS or ~/.config/peerd/contexts.toml."""


@context.command("add", cls=Command)
@click.argument("name")
@click.option("--address", required=True, help="unix:PATH or HOST:PORT of the control API.")
@click.option("--operator", type=FILE, help="TCP: NAME.pem, with NAME.key and ca.pem beside it.")
@click.option("--ca", type=FILE, help="TCP: the network's CA certificate.")
@click.option("--cert", type=FILE, help="TCP: the operator's certificate.")
@click.option("--key", type=FILE, help="TCP: its private key.")
@click.option("--peer", help="TCP: the peer whose certificate must answer.  [default: NAME]")
@click.option("--replace", "overwrite", is_flag=True, help="Overwrite an endpoint of this name.")
@pass_settings
def add(
    settings: Settings,
    name: str,
    address: str,
    operator: Path | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    peer: str | None,
    overwrite: bool,
) -> None:
    """Give the endpoint of a peer the name NAME.

    \b
    Examples:
      peerctl context add alice --address unix:/var/lib/peerd/control.sock
      peerctl context add bob --address 192.0.2.7:9102 --operator ops/ops.pem
    """
    contexts = Contexts.load(default_path())
    if name in contexts.endpoints and not overwrite:
        raise ConflictError(f"{contexts.path}: there is an endpoint {name!r}; --replace it")
    tls = _tls(operator, (ca, cert, key), peer or name)
    if address.startswith(UNIX):
        if tls is not None or peer is not None:
            raise InvalidInputError("a Unix socket takes no certificates")
        endpoint = Endpoint(name, unix_address(address, Path.cwd(), "--address"))
    else:
        parse_address(address, "--address")
        if tls is None:
            raise InvalidInputError("TCP needs --operator NAME.pem, or --ca, --cert and --key")
        endpoint = Endpoint(name, address, tls)
    contexts.adding(endpoint).save()
    _said(settings, name, f"{name} is {address} ({contexts.path})")


def _tls(operator: Path | None, files: tuple[Path | None, ...], peer: str) -> Tls | None:
    if operator is not None:
        if any(file is not None for file in files):
            raise InvalidInputError("--operator stands for --ca, --cert and --key")
        return operator_tls(operator, peer)
    if all(file is None for file in files):
        return None
    given = []
    for file, option in zip(files, ("--ca", "--cert", "--key"), strict=True):
        if file is None:
            raise InvalidInputError(f"TCP needs --ca, --cert and --key; {option} is missing")
        if not file.is_file():
            raise NotFoundError(f"{option}: {file}: no such file")
        given.append(file.resolve())
    return Tls(given[0], given[1], given[2], peer)


@context.command("list", cls=Command)
@pass_settings
def list_contexts(settings: Settings) -> None:
    """The endpoints that names are looked up in; '*' marks the current one.

    \b
    Examples:
      peerctl context list
      peerctl --testbed ./testbed context list
    """
    contexts = effective(settings)
    if settings.for_programs:
        render.print_data(
            {
                "file": str(contexts.path),
                "current": contexts.current,
                "operator": None if contexts.operator is None else str(contexts.operator),
                "endpoints": {e.name: e.address for e in contexts.endpoints.values()},
            },
            settings.output,
        )
        return
    rows = [
        (
            "*" if endpoint.name == contexts.current else "",
            endpoint.name,
            endpoint.address,
            endpoint.tls.peer if endpoint.tls else "",
        )
        for endpoint in contexts.endpoints.values()
    ]
    render.show(f"{contexts.path}" if rows else f"{contexts.path}: no endpoints yet")
    if rows:
        render.show(render.table(("", "Name", "Address", "Peer"), rows))
    if contexts.operator is not None:
        render.show(f"operator: {contexts.operator}")


@context.command("use", cls=Command)
@click.argument("name", shell_complete=complete.own_context)
@pass_settings
def use(settings: Settings, name: str) -> None:
    """Make NAME the endpoint that commands ask when they name none.

    \b
    Example:
      peerctl context use bob
    """
    Contexts.load(default_path()).using(name).save()
    _said(settings, name, f"{name} is the current endpoint")


@context.command("operator", cls=Command)
@click.argument("certificate", type=FILE, required=False)
@click.option("--none", is_flag=True, help="Forget the operator.")
@pass_settings
def operator(settings: Settings, certificate: Path | None, none: bool) -> None:
    """Name the operator's CERTIFICATE that signs what is told to the whole network, such as new runs.

    It is needed where peers are asked by Unix sockets: an endpoint over TCP has its operator anyway.

    \b
    Examples:
      peerctl context operator ops/ops.pem
      peerctl context operator --none
    """
    if (certificate is None) != none:
        raise InvalidInputError("name one certificate, or say --none")
    contexts = Contexts.load(default_path())
    found = None if certificate is None else operator_tls(certificate, "any").cert
    replace(contexts, operator=found).save()
    if settings.for_programs:
        render.print_data({"operator": None if found is None else str(found)}, settings.output)
    else:
        click.echo("no operator" if found is None else f"{found} signs what is told to the whole network")


@context.command("remove", cls=Command)
@click.argument("name", shell_complete=complete.own_context)
@pass_settings
def remove(settings: Settings, name: str) -> None:
    """Forget NAME. The peer itself is not touched.

    \b
    Example:
      peerctl context remove bob
    """
    Contexts.load(default_path()).removing(name).save()
    _said(settings, name, f"{name} is forgotten")


def _said(settings: Settings, name: str, text: str) -> None:
    if settings.for_programs:
        render.print_data({"context": name}, settings.output)
    else:
        click.echo(text)
