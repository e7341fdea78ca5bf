"""`peerctl doctor`"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.text import Text

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.contexts import UNIX, Endpoint
from ctl.doctor.asking import ask_peers, reachable
from ctl.doctor.clock import check_clock, clock_state
from ctl.doctor.finding import Finding, fail, healthy
from ctl.doctor.host import HERE, check_config, check_contexts, check_host, state_dir_of
from ctl.doctor.peers import check_peers, check_ports, listeners
from ctl.doctor.state_dir import check_state_dir
from ctl.targets import Settings, resolve
from ctl.text import number_of, one_line
from peerd.config import load
from peerd.errors import NotFoundError, PeerdError

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
PORT_SECONDS = 5.0
"""For a TCP connection; `--timeout` may say less."""


@click.command(cls=Command)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="A peer of this host; looked at whether its daemon runs or not.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Its configuration file, to be checked, too.")
@pass_settings
def doctor(settings: Settings, state_dir: Path | None, config: Path | None) -> int:
    """Check this host and the peers, and say what to do.

    Of this host: Python and torch, file limits, the contexts file, the operator's certificates, and of the
    peers that run on it, or of --state-dir: permissions, keys, certificate and chain, disk space. Of each
    peer: whether it answers, its alarms, its clock against its neighbours', its links to every other peer,
    drops that can be helped, its trainer, its certificate (over TCP). Of all: versions, epochs, membership.

    A link's port is tried with a connection that is closed at once; a peer counts a failed handshake.

    Every line is ok, warn or fail; warn and fail say what to do. The exit code is 1 if one says fail.

    \b
    Examples:
      peerctl --all doctor
      peerctl --context bob doctor -o json | jq '.findings[] | select(.level != "ok")'
      peerctl doctor --state-dir /var/lib/peerd --config /etc/peerd/peerd.toml
    """
    findings = examine(settings, state_dir, config)
    good = healthy(findings)
    if settings.for_programs:
        render.print_data({"healthy": good, "findings": [f.data() for f in findings]}, settings.output)
    else:
        render.show(*_lines(findings), _verdict(findings))
    return 0 if good else 1


def examine(settings: Settings, state_dir: Path | None, config: Path | None) -> list[Finding]:
    """All checks that these options mean."""
    findings = [*check_host(), *check_clock(HERE, clock_state()), *check_config(config)]
    named = settings.many or settings.context is not None or settings.endpoint is not None
    if state_dir is None or named:
        findings += check_contexts(settings) if settings.endpoint is None else ()
    endpoints: tuple[Endpoint, ...] = ()
    if state_dir is not None:
        findings += check_state_dir(state_dir, HERE)
    if state_dir is not None and not named:
        endpoints = (Endpoint(HERE, f"{UNIX}{_socket(state_dir, config)}"),)
    else:
        try:
            endpoints = resolve(settings).endpoints
        except NotFoundError as error:
            findings.append(fail(HERE, "peers", str(error), "or look at this host alone with --state-dir"))
    findings += _local(endpoints, state_dir)
    return findings + _remote(settings, endpoints)


def _socket(state_dir: Path, config: Path | None) -> Path:
    """Where its daemon answers, if it is up."""
    chosen = ""
    if config is not None:
        with contextlib.suppress(PeerdError):  # what is wrong with it has been found already
            chosen = load(config).control.unix
    return Path(chosen) if chosen else state_dir.absolute() / "control.sock"


def _local(endpoints: Iterable[Endpoint], done: Path | None) -> list[Finding]:
    """Of the peers that run on this host with a state directory that can be seen."""
    found: list[Finding] = []
    for endpoint in endpoints:
        folder = state_dir_of(endpoint)
        if folder is not None and (done is None or folder.resolve() != done.resolve()):
            found += check_state_dir(folder, endpoint.name)
    return found


def _remote(settings: Settings, endpoints: Sequence[Endpoint]) -> list[Finding]:
    told = aio.run(ask_peers(endpoints, settings.timeout))
    ports = listeners(told)
    tried = aio.run(reachable(list(ports), min(settings.timeout, PORT_SECONDS)))
    return [*check_peers(told), *check_ports(tried, ports)]


def _lines(findings: Sequence[Finding]) -> Iterable[Text]:
    """One a finding; what to do is below it."""
    who = max((len(finding.about) for finding in findings), default=0)
    what = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        line = Text(f"{finding.level:<5} ", style=STYLES[finding.level])
        line.append(f"{finding.about:<{who}}  {finding.check:<{what}}  ", style="not bold default")
        line.append(one_line(finding.text), style="not bold default")
        yield line
        if finding.advice:
            yield Text(f"{'':<6}{'':<{who}}  {'':<{what}}  -> {one_line(finding.advice)}", style="dim")


def _verdict(findings: Sequence[Finding]) -> str:
    failed, warned = (sum(f.level == level for f in findings) for level in ("fail", "warn"))
    if not failed and not warned:
        return f"\nAll well: {number_of(len(findings), 'check')}."
    return f"\n{number_of(len(findings), 'check')}: {failed} failed, {number_of(warned, 'warning')}."
