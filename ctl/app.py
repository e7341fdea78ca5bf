"""What all commands share: the global options, which are understood before and after the command's
name, the exit codes, and the way a command asks peers and prints their answers."""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import RenderableType

from ctl import aio, complete, render, repeat
from ctl.client import Client
from ctl.fanout import Answer, Answers, fan_out
from ctl.targets import Settings, Targets, resolve
from ctl.text import Duration
from peerd.errors import InvalidInputError, PeerdError

T = TypeVar("T")
_OUTPUT = re.compile(r"(?:^| )(?:--output[ =]|-o ?)(json|yaml)(?= |$)")
EXIT_CODES = """
    \b
    Exit codes:
      0    ok                 4    conflict: does not fit the present state
      1    failure            5    unavailable, or busy: no answer, or none now
      2    invalid input      6    denied: wrong credentials or role
      3    not found          130  interrupted (Ctrl-C, SIGTERM)
"""


MOST_TIMEOUT = 86_400.0


class UserInterruptError(PeerdError):
    """By Ctrl-C, SIGTERM or SIGHUP; says what goes on all the same."""

    exit_code = 130
    grpc_status = "CANCELLED"


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name is not None:
        setattr(ctx.ensure_object(Settings), param.name, value)


def _global_options(hidden: bool) -> list[click.Option]:
    """Made anew for each command: click's parameters belong to one command."""

    def option(*names: str, visible: bool = False, **attributes: Any) -> click.Option:
        return click.Option(
            names,
            expose_value=False,
            callback=_store,
            default=None,
            hidden=hidden and not visible,
            **attributes,
        )

    folder = click.Path(path_type=Path, file_okay=False)
    return [
        option(
            "--context",
            metavar="NAME",
            shell_complete=complete.peer,
            help="The peer of this name in the contexts file.",
        ),
        option(
            "--endpoint",
            metavar="ENDPOINT",
            help="unix:PATH, or NAME@HOST:PORT together with --operator.",
        ),
        option(
            "--operator",
            metavar="NAME.pem",
            type=click.Path(path_type=Path, dir_okay=False),
            help="An operator's certificate, with NAME.key and ca.pem beside it.",
        ),
        option("--testbed", metavar="DIR", type=folder, help="Names are those of this testbed."),
        option("--all", is_flag=True, help="Every peer of the contexts file or testbed."),
        option(
            "--on",
            metavar="A,B",
            shell_complete=complete.peers,
            help="These peers of the contexts file or testbed.",
        ),
        option(
            "--output",
            "-o",
            type=click.Choice(render.OUTPUTS),
            visible=True,
            help="For people or for programs.  [default: table]",
        ),
        option(
            "--timeout",
            metavar="TIME",
            type=Duration(positive=True, most=MOST_TIMEOUT),
            help="For each call, as in 500ms or 10s.  [default: 10s]",
        ),
    ]


def watchable(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command that reports, by `report`, the option to do it again and again."""
    return click.option(
        "--watch",
        metavar="[INTERVAL]",
        type=repeat.INTERVAL,
        is_flag=False,
        flag_value=repeat.INTERVAL_SECONDS,
        default=None,
        expose_value=False,
        callback=_store,
        help="Again and again, until Ctrl-C.  [default: every 5s]",
    )(command)


class Command(click.Command):
    """A command that also takes the global options (listed by `peerctl --help`)."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        own = {name for param in self.params for name in param.opts}
        self.params += [o for o in _global_options(hidden=True) if own.isdisjoint(o.opts)]


class Group(click.Group):
    """A group that takes them, too."""

    command_class = Command
    group_class = type
    shows_options = False

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += _global_options(hidden=not self.shows_options)


class Root(Group):
    """The whole command line: its `main` turns every failure into one line and an exit code.

    `modules` of `ctl.commands`, each with a command of its own name (`_` for `-`), in the order of the help.
    A module is imported when its command is wanted: all of them together cost more than most answers.
    """

    shows_options = True

    def __init__(self, *args: Any, modules: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._modules = {module.replace("_", "-"): module for module in modules}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(f"ctl.commands.{module}"), module)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand:  # which knows only the commands that are loaded
            raise click.exceptions.NoSuchCommand(
                args[0], possibilities=list(self._modules), ctx=ctx
            ) from None

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        extra.pop("standalone_mode", None)
        sys.exit(self._run(arguments, prog_name or "peerctl", extra))

    def _run(self, arguments: list[str], name: str, extra: dict[str, Any]) -> int:
        output = _wanted_output(arguments)
        try:
            code = super().main(arguments, name, standalone_mode=False, **extra)
            return code if isinstance(code, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.UsageError as error:
            render.report(_usage(error), output)
            return InvalidInputError.exit_code
        except PeerdError as error:
            render.report(error, output)
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            render.report(UserInterruptError("interrupted"), output)
            return UserInterruptError.exit_code
        except UnicodeEncodeError as error:  # bytes of a command line that are no text
            render.report(InvalidInputError(f"{error.object!r}: not UTF-8"), output)
            return InvalidInputError.exit_code
        except BrokenPipeError:  # as of `| head`: there is nobody to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if os.environ.get("PEERCTL_DEBUG"):
                traceback.print_exc()
            render.report(PeerdError(_unexpected(error)), output)
            return 1


def _wanted_output(arguments: Sequence[str]) -> str:
    """For errors, which may come before the options are parsed."""
    found = _OUTPUT.findall(" ".join(arguments))
    return found[-1] if found else "table"


def _usage(error: click.UsageError) -> InvalidInputError:
    hint = f" (see {error.ctx.command_path} --help)" if error.ctx is not None else ""
    return InvalidInputError(f"{error.format_message()}{hint}")


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"{type(error).__name__}: {error} (PEERCTL_DEBUG=1 shows where)"


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def ask(settings: Settings, call: Callable[[Client], Awaitable[T]]) -> tuple[Targets, Answers[T]]:
    """Put one question to all peers that the options name."""
    targets = resolve(settings)
    return targets, aio.run(fan_out(targets.endpoints, call, settings.timeout))


def report(
    settings: Settings,
    call: Callable[[Client], Awaitable[T]],
    data: Callable[[T], Any],
    look: Callable[[Sequence[Answer[T]]], RenderableType],
    stream: Callable[[Client, float], AsyncIterator[T]] | None = None,
) -> int:
    """Ask and show; with --watch until somebody ends it. `stream`: what then tells the same by itself, every
    so many seconds."""
    if settings.watch is None:
        targets, answers = ask(settings, call)
        return show(settings, targets, answers, data, look)
    targets = resolve(settings)
    with repeat.frames(settings.watch) as frames:

        def tell(answers: Answers[T]) -> None:
            if settings.for_programs:
                render.print_next(_values(targets, answers, data), settings.output)
                render.report_failures(answers.bad, settings.output)
            else:
                frames.draw(answers, look)

        aio.run(_again(targets, settings.timeout, settings.watch, call, stream, tell))
    return 0


def _again(
    targets: Targets,
    patience: float,
    interval: float,
    call: Callable[[Client], Awaitable[T]],
    stream: Callable[[Client, float], AsyncIterator[T]] | None,
    tell: Callable[[Answers[T]], None],
) -> Coroutine[Any, Any, None]:
    if stream is None:
        return repeat.ask(targets.endpoints, call, patience, interval, tell)
    return repeat.follow(targets.endpoints, lambda client: stream(client, interval), patience, interval, tell)


def show(
    settings: Settings,
    targets: Targets,
    answers: Answers[T],
    data: Callable[[T], Any],
    look: Callable[[Sequence[Answer[T]]], RenderableType],
    hint: str = "",
) -> int:
    """Print the answers and report the failures; the exit code.

    For programs: the bare object of a single peer, or an object under the peers' names for a set. `hint`
    follows the failures, if there are any.
    """
    if settings.for_programs:
        if targets.many or answers.good:
            render.print_data(_values(targets, answers, data), settings.output)
    elif answers.good:
        render.show(look(answers.good))
    render.report_failures(answers.bad, settings.output, hint)
    return answers.exit_code


def _values(targets: Targets, answers: Answers[T], data: Callable[[T], Any]) -> Any:
    """None for a single peer that has not answered."""
    values = {answer.name: data(answer.value) for answer in answers.good}
    return values if targets.many else next(iter(values.values()), None)
