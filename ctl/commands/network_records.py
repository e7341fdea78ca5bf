"""`peerctl network revoke|delegate|rotate-ca|publish|invite`: what the running network is to know of what
the authority has decided, and how newcomers join by a delegate."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType

from ctl import render
from ctl.app import Command, ask, pass_settings
from ctl.app import show as show_answers
from ctl.fanout import Answer
from ctl.targets import Settings, again, resolve
from ctl.text import Duration, number_of, one_line, seconds
from peerd.pb import peers_pb2

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from peerd.membership import Authority

FOLDER = click.Path(path_type=Path, file_okay=False)
PUBLISH = click.option(
    "--publish", is_flag=True, help="Tell it to the peer that --endpoint, --context or another names."
)


def authority_of(directory: Path) -> Authority:
    """Imported when it is needed: its cryptography doubles the time that `peerctl status` takes."""
    from peerd.membership import Authority

    return Authority.load(directory)


def id_of(ca: Certificate) -> str:
    """32 hex digits by which CAs are told apart."""
    from peerd.membership.records import authority_id

    return authority_id(ca).hex()


@click.command("revoke", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["peer", "operator"]),
    default="peer",
    show_default=True,
    help="Who is called so.",
)
@PUBLISH
@pass_settings
def revoke(settings: Settings, directory: Path, name: str, kind: str, publish: bool) -> int:
    """Put a peer out of the network, for good, or take an operator's rights away.

    NAME is the peer's name, or its id of 32 hex digits, which a peer that a delegate has signed in needs.
    With a delegate all whom it has signed in are out: sign those in anew whom you trust. The record of it
    is written to DIRECTORY/records; once any peer has it, it spreads and cuts links within seconds. Asked
    again, the same record comes.

    \b
    Examples:
      peerctl --context alice network revoke ./lab mallory --publish
      peerctl network revoke ./lab 00112233445566778899aabbccddeeff
      peerctl network revoke ./lab ops --kind operator
    """
    _check_targets(settings, publish)
    authority = authority_of(directory)
    if kind == "peer":
        records: Sequence[bytes] = (authority.revoke(name),)
        path = authority.write_records(f"revoke-{name}", records)
    else:
        records = authority.revoke_operator(name)
        path = authority.write_records(f"revoke-operator-{name}", records)
    data = {"revoked": name, "kind": kind, "record": str(path)}
    return _tell(settings, f"Revoked {kind} {name}.", path, records, publish, data)


@click.command("delegate", cls=Command)
@click.argument("directory", type=FOLDER)
@click.argument("name")
@click.option(
    "--days",
    type=click.FloatRange(min=0.0, min_open=True, max=825.0),
    default=90.0,
    show_default=True,
    help="What it signs ends with this, too.",
)
@PUBLISH
@pass_settings
def delegate(settings: Settings, directory: Path, name: str, days: float, publish: bool) -> int:
    """Let the peer NAME sign in newcomers that bring a token which it has made.

    It can certify peers and nothing else: no operators, no other delegates. The record of it is written to
    DIRECTORY/records; the peer itself learns it from that, or from its new bundle. Ask again to go on later.

    \b
    Example:
      peerctl --context alice network delegate ./lab alice --days 30 --publish
      peerctl --context alice network invite
    """
    _check_targets(settings, publish)
    authority = authority_of(directory)
    record, bundle = authority.delegate(name, days)
    path = authority.write_records(f"delegate-{name}", (record,))
    until = bundle.delegation.not_valid_after_utc if bundle.delegation is not None else None
    data = {
        "delegate": name,
        "valid_until": f"{until:%Y-%m-%dT%H:%M:%SZ}",
        "record": str(path),
        "bundle": str(directory / "bundles" / f"{name}.bundle"),
    }
    return _tell(settings, f"{name} may sign in others until {until:%F}.", path, (record,), publish, data)


@click.command("rotate-ca", cls=Command)
@click.argument("directory", type=FOLDER)
@click.option("--finish", is_flag=True, help="The second step: retire the earlier CA.")
@PUBLISH
@pass_settings
def rotate_ca(settings: Settings, directory: Path, finish: bool, publish: bool) -> int:
    """Change the authority's key, in two steps, without a break.

    The first makes a new CA beside the one in force and certifies every peer anew; peers take their new
    certificates from the records in DIRECTORY/records. Wait until all of them have; then --finish retires the
    earlier CA. Who is away for all of that needs its new bundle from DIRECTORY/bundles. Operators need new
    certificates in between. Each step may be asked for again.

    \b
    Examples:
      peerctl --context alice network rotate-ca ./lab --publish
      peerctl network operator ./lab ops --out ./ops-new
      peerctl --context alice network rotate-ca ./lab --finish --publish
    """
    _check_targets(settings, publish)
    authority = authority_of(directory)
    rotation = authority.finish_rotation() if finish else authority.rotate_ca()
    path = authority.write_records("rotate-ca-finish" if finish else "rotate-ca", rotation.records)
    data = {
        "finished": finish,
        "authorities": [id_of(ca) for ca in authority.authorities],
        "record": str(path),
        "bundles": {b.name: str(directory / "bundles" / f"{b.name}.bundle") for b in rotation.bundles},
        "operators": list(rotation.operators),
    }
    if finish:
        return _tell(settings, "The earlier CA is retired.", path, rotation.records, publish, data)
    code = _tell(settings, "A new CA stands beside the earlier one.", path, rotation.records, publish, data)
    if not settings.for_programs:
        for name in rotation.operators:
            click.echo(f"The certificate of operator {name} ends with the earlier CA; make another:")
            click.echo(f"    peerctl network operator {shlex.quote(str(directory))} {name} --out FOLDER")
        click.echo("When all peers have their new certificates, retire the earlier CA:")
        click.echo(f"    peerctl network rotate-ca {shlex.quote(str(directory))} --finish")
    return code


@click.command("publish", cls=Command)
@click.argument("files", type=click.Path(path_type=Path, dir_okay=False), nargs=-1, required=True)
@pass_settings
def publish_files(settings: Settings, files: tuple[Path, ...]) -> int:
    """Tell a running peer what the authority has signed: the records in FILES. It tells the others.

    What the peer knows already is no error.

    \b
    Example:
      peerctl --context alice network publish ./lab/records/revoke-mallory.record
    """
    from peerd.membership.recordfile import read_records

    records = [record for path in files for record in read_records(path)]
    targets, answers = ask(settings, lambda client: client.publish(records))

    def data(accepted: int) -> dict[str, int]:
        return {"records": len(records), "accepted": accepted}

    def look(good: Sequence[Answer[int]]) -> RenderableType:
        return "\n".join(_told(answer.name, answer.value, len(records)) for answer in good)

    return show_answers(settings, targets, answers, data, look)


@click.command("invite", cls=Command)
@click.option("--name", default="", help="The only name that the newcomer may have.  [default: any]")
@click.option(
    "--expires", type=Duration(positive=True), default=3600.0, help="Good for so long.  [default: 1h]"
)
@pass_settings
def invite(settings: Settings, name: str, expires: float) -> int:
    """Have a running peer make a join token: a secret with which one newcomer joins by this peer.

    The peer must be a delegate (`peerctl network delegate`) and listen for newcomers ([enrolment] listen in
    its configuration).

    \b
    Examples:
      peerctl --context alice network invite
      peerctl --context alice network invite --name dora --expires 15m -o json
    """
    targets, answers = ask(settings, lambda client: client.invite(name, expires))
    return show_answers(settings, targets, answers, render.plain, _invitations)


def _invitations(answers: Sequence[Answer[peers_pb2.InviteResponse]]) -> RenderableType:
    lines = []
    for answer in answers:
        lines.append(f"Good for one newcomer, for {seconds(answer.value.expires_in_seconds)}. On its host:")
        lines.append(f"    peerd join --state-dir DIR --token {one_line(answer.value.token)}")
    return "\n".join(lines)


def _check_targets(settings: Settings, publish: bool) -> None:
    """Nothing is signed for peers that cannot be found."""
    if publish:
        resolve(settings)


def _tell(
    settings: Settings,
    done: str,
    path: Path,
    records: Sequence[bytes],
    publish: bool,
    data: dict[str, Any],
) -> int:
    """Publish the records if that was asked for, and say what was done and what is left to do."""
    command = again(settings, "network", "publish", str(path))
    if not publish:
        if settings.for_programs:
            render.print_data(data | {"published": None}, settings.output)
        else:
            click.echo(f"{done} Tell any one running peer:")
            click.echo(f"    {command}")
        return 0
    _, answers = ask(settings, lambda client: client.publish(list(records)))
    told = {answer.name: answer.value for answer in answers.good}
    if settings.for_programs:
        render.print_data(data | {"published": told}, settings.output)
    else:
        click.echo(done)
        for peer, accepted in told.items():
            click.echo(_told(peer, accepted, len(records)))
    render.report_failures(
        answers.bad, settings.output, "" if told else f"nobody was told yet; try again: {command}"
    )
    return answers.exit_code


def _told(peer: str, accepted: int, records: int) -> str:
    news = "knew it already" if not accepted else f"{accepted} of {number_of(records, 'record')} new there"
    return f"{peer}: {news}"


COMMANDS = (revoke, delegate, rotate_ca, publish_files, invite)
