"""`peerctl support-bundle`"""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.commands.doctor import examine
from ctl.commands.version import versions
from ctl.contexts import Endpoint
from ctl.export import check_target
from ctl.fanout import Answers, Failure
from ctl.support.archive import assemble, write
from ctl.support.hosts import names
from ctl.support.parts import Collected, collect, log_of
from ctl.support.redaction import Redactor
from ctl.targets import Settings, effective, remembered_testbed, resolve
from ctl.testbed import Testbed
from ctl.text import number_of, size
from peerd.config import load
from peerd.errors import NotFoundError, PeerdError

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("support-bundle", cls=Command)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The archive to make, FILE.tar.gz."
)
@click.option("--force", is_flag=True, help="Overwrite it.")
@click.option("--include-addresses", is_flag=True, help="In clear, not as host-1, host-2, ...")
@click.option("--state-dir", type=click.Path(path_type=Path), help="For doctor: a peer of this host.")
@click.option("--config", type=FILE, help="Put this configuration file in, too; of a testbed it is there.")
@click.option("--log", type=FILE, help="Put the end of this log in, too; of a testbed it is there.")
@pass_settings
def support_bundle(
    settings: Settings,
    /,
    out: Path,
    force: bool,
    include_addresses: bool,
    state_dir: Path | None,
    config: Path | None,
    log: Path | None,
) -> int:
    """Put what helps to find a fault into one archive, without secrets, to be given to somebody else.

    In it, of each peer: status, peers, mixing, run, checkpoints (not the models), events, and on this host
    metrics; what `peerctl doctor` finds; versions. manifest.json says what is there, what is missing and
    why, and what was hidden. Keys and certificates are never read into it, tokens and whatever looks like a
    key are replaced, addresses, names of hosts and home folders too; peers' names and ids stay. Look at it
    before you give it away.

    The archive is readable by you alone. A peer that does not answer is missing in it, and the exit code is
    then that of its failure.

    \b
    Examples:
      peerctl --all support-bundle --out peers.tar.gz
      peerctl support-bundle --out bob.tar.gz --config /etc/peerd/peerd.toml --log /var/log/peerd/peerd.log
    """
    check_target(out, force)
    endpoints = resolve(settings).endpoints
    collected = aio.run(collect(endpoints, settings.timeout))
    findings = examine(settings, state_dir, config)
    shared: dict[str, Any] = {
        "doctor.json": [finding.data() for finding in findings],
        "versions.json": versions() | {"platform": platform.platform()},
    }
    testbed, asked = _testbed(settings), [endpoint.name for endpoint in endpoints]
    missing = _add_files(shared, config, log, testbed, asked)
    configurations = [content for name, content in shared.items() if name.endswith("config.json")]
    state_dirs = [testbed.state_dir(name) for name in asked] if testbed is not None else []
    said = [one["state_dir"] for one in configurations if one["state_dir"]]
    state_dirs += [Path(folder) for folder in (state_dir, *said) if folder is not None]
    redactor = _redactor(settings, endpoints, collected, configurations, state_dirs, include_addresses)
    files = assemble(collected, shared, missing, redactor, include_addresses)
    write(out, files, force)
    _tell(settings, out, files, collected)
    failures = tuple(Failure(one.name, one.failure) for one in collected if one.failure is not None)
    render.report_failures(failures, settings.output, "the bundle was made without them" if failures else "")
    answers: Answers[None] = Answers((), failures)
    return answers.exit_code


def _redactor(
    settings: Settings,
    endpoints: Sequence[Endpoint],
    collected: Sequence[Collected],
    configurations: Sequence[Mapping[str, Any]],
    state_dirs: Sequence[Path],
    include: bool,
) -> Redactor:
    try:
        contexts = effective(settings)
    except PeerdError:
        contexts = None
    hosts = names(endpoints, contexts, collected, configurations, state_dirs)
    peers = {endpoint.name for endpoint in endpoints}
    for one in collected:
        peers |= {str(peer.get("name", "")) for peer in one.files.get("peers.json", ())}
    return Redactor(include, hosts, Path.home(), socket.gethostname(), frozenset(peers - {""}))


def _add_files(
    shared: dict[str, Any],
    config: Path | None,
    log: Path | None,
    testbed: Testbed | None,
    names: Sequence[str],
) -> list[str]:
    """Configurations and logs that lie on this host; what could not be had."""
    wanted: list[tuple[str, Path]] = []
    if config is not None:
        wanted.append(("config.json", config))
    if log is not None:
        wanted.append(("log.txt", log))
    if testbed is not None:
        for name in names:
            wanted.append((f"{name}/config.json", testbed.config_file(name)))
            wanted.append((f"{name}/log.txt", testbed.log(name)))
    missing = []
    for name, path in wanted:
        try:
            is_log = name.endswith("log.txt")
            shared[name] = log_of(path) if is_log else msgspec.to_builtins(load(path))
        except PeerdError as error:
            missing.append(f"{name}: {error}")
    return missing


def _testbed(settings: Settings) -> Testbed | None:
    """That the names belong to, if any."""
    folder = settings.testbed or remembered_testbed()
    if folder is None or settings.endpoint is not None:
        return None
    try:
        return Testbed.load(folder)
    except NotFoundError:
        return None


def _tell(settings: Settings, out: Path, files: dict[str, bytes], collected: Sequence[Collected]) -> None:
    lacks = sum(len(one.missing) for one in collected)
    if settings.for_programs:
        told = {"file": str(out), "files": list(files), "bytes": out.stat().st_size, "missing": lacks}
        render.print_data(told, settings.output)
        return
    click.echo(f"{out}: {number_of(len(files), 'file')}, {size(out.stat().st_size)}, readable by you alone.")
    if lacks:
        click.echo(f"{number_of(lacks, 'file')} could not be had; manifest.json says why.")
    click.echo("Look at it before you give it away: tar -xzf, then manifest.json.")
