"""`peerctl config show|validate|diff|set|reload`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from rich.console import Group as Stack
from rich.console import RenderableType

from ctl import render
from ctl.app import Command, Group, ask, pass_settings, show
from ctl.configfile import mistakes
from ctl.configtext import changes_data, shown, status_data, told
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.values import assignments, completions
from peerd.config import read
from peerd.errors import InvalidInputError
from peerd.pb import config_pb2
from peerd.validation import given

FILE = click.Path(path_type=Path, dir_okay=False)


class MistakesError(InvalidInputError):
    """Of one file; `tail` has one line for each."""

    def __init__(self, file: Path, lines: Sequence[str]) -> None:
        super().__init__(lines[0] if len(lines) == 1 else f"{file}: {len(lines)} mistakes")
        self.tail = () if len(lines) == 1 else tuple(lines)


@click.group(cls=Group)
def config() -> None:
    """The configuration of daemons: what is in force, and what of it can change while they run."""


@config.command("show", cls=Command)
@click.argument("prefix", required=False, default="")
@click.option("--defaults", is_flag=True, help="What every key would be by itself.")
@click.option("--changed", is_flag=True, help="Only keys that differ from their default.")
@pass_settings
def show_config(settings: Settings, prefix: str, defaults: bool, changed: bool) -> int:
    """The configuration in force, as a config file: all keys, or those of a section or key.

    What is not at its default is marked with where it came from: the daemon's file, its [mixing] preset, the
    command line that it was started with (option), or what was set since then (runtime).

    \b
    Examples:
      peerctl config show
      peerctl config show mixing
      peerctl --all config show --changed
      peerctl config show --defaults > peerd.toml
      peerctl config show logging.level -o json
    """
    if defaults and changed:
        raise InvalidInputError("--defaults and --changed do not go together")

    def wanted(status: config_pb2.ConfigStatus) -> config_pb2.ConfigStatus:
        return config_pb2.ConfigStatus(file=status.file, settings=_chosen(status, prefix, changed))

    targets, answers = ask(settings, lambda client: client.config())

    def look(answers: Sequence[Answer[config_pb2.ConfigStatus]]) -> RenderableType:
        blocks = [shown(wanted(a.value), a.name if targets.many else "", defaults) for a in answers]
        return Stack(*(render.text(block) for block in blocks))

    return show(settings, targets, answers, lambda status: status_data(wanted(status)), look)


def _chosen(status: config_pb2.ConfigStatus, prefix: str, changed: bool) -> list[config_pb2.Setting]:
    name = prefix.rstrip(".")
    under = [s for s in status.settings if not name or s.key == name or s.key.startswith(f"{name}.")]
    if not under:  # also for `mixing.mean_delay` of `mixing.mean_delay_seconds`
        under = [s for s in status.settings if s.key.startswith(name)]
    if not under:
        sections = dict.fromkeys(setting.key.partition(".")[0] for setting in status.settings)
        raise InvalidInputError(f"{prefix}: no such section or key; sections: {', '.join(sections)}")
    return [s for s in under if not changed or s.value != s.default]


@config.command("validate", cls=Command)
@click.argument("file", type=FILE)
@pass_settings
def validate(settings: Settings, file: Path) -> None:
    """Look for mistakes in a config FILE, without a daemon: each is one line with file, key, and what is
    allowed.

    The exit code is 2 when there is any. What only a running peer knows shows at its start: whether a port
    is free, how many hops its network allows.

    \b
    Examples:
      peerctl config validate /etc/peerd/peerd.toml
      peerctl config validate peerd.toml -o json
    """
    _good(file)
    if settings.for_programs:
        render.print_data({"file": str(file), "valid": True}, settings.output)
    else:
        render.show(f"{file}: no mistakes")


@config.command("diff", cls=Command)
@click.argument("file", type=FILE, required=False)
@pass_settings
def diff(settings: Settings, file: Path | None) -> int:
    """What is in force beside the daemon's config file, or beside a FILE of this machine.

    "Takes effect" is when the file's value would hold: now (by `config reload`), with the next run, or after
    a restart.

    \b
    Examples:
      peerctl config diff
      peerctl --all config diff
      peerctl config diff new.toml
    """
    values = None if file is None else given(_good(file), str(file))
    targets, answers = ask(settings, lambda client: client.compare_config(values, str(file or "")))
    return show(settings, targets, answers, changes_data, lambda a: told(a, ("In force", "In the file")))


def _good(file: Path) -> str:
    """The text of a file without a mistake."""
    text = read(file)
    if lines := mistakes(text, file):
        raise MistakesError(file, lines)
    return text


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(text) for text in completions(incomplete)]


@config.command("set", cls=Command)
@click.argument("values", metavar="KEY=VALUE...", nargs=-1, required=True, shell_complete=_complete)
@click.option("--persist", is_flag=True, help="Also in the daemon's config file, which keeps its comments.")
@pass_settings
def set_config(settings: Settings, values: tuple[str, ...], persist: bool) -> int:
    """Change keys of running daemons: on each daemon all of them, or none.

    Times take a unit (80ms, 2s, 5m), sizes, too (10MB, 4MiB), lists commas; `_seconds`, `_bytes` and
    `_per_second` may be left out of a key's name. A key that cannot change while a daemon runs is refused
    (exit code 4), and so is over TCP what each host decides by itself: paths, tasks, addresses (exit code 6).
    Without --persist the change ends with the daemon, or with `config reload`.

    \b
    Examples:
      peerctl config set logging.level=debug
      peerctl --all config set mixing.hops=2 mixing.mean_delay=80ms
      peerctl --all config set mixing.preset=balanced --persist
      peerctl --endpoint unix:/var/lib/peerd/control.sock config set training.tasks=digits-cnn,mytask:make
    """
    wanted: dict[str, Any] = assignments(values)
    targets, answers = ask(settings, lambda client: client.set_config(wanted, persist))
    return show(settings, targets, answers, changes_data, lambda a: told(a, ("Was", "Is")))


@config.command("reload", cls=Command)
@pass_settings
def reload(settings: Settings) -> int:
    """Let daemons read their config file again, as SIGHUP does: the file then holds, also over what was set
    since.

    What can change at runtime does, what needs a restart is listed and stays. A file with a mistake changes
    nothing. The log file ([logging] file) is opened anew. `config diff` shows before what this would do.

    \b
    Examples:
      peerctl config reload
      peerctl --all config reload
    """
    targets, answers = ask(settings, lambda client: client.reload_config())
    return show(settings, targets, answers, changes_data, lambda a: told(a, ("Was", "Is")))
