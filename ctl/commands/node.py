"""`peerctl node drain|health`"""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import RenderableType

from ctl import aio, draining, render
from ctl.app import Command, Group, UserInterruptError, ask, pass_settings, show
from ctl.client import Client
from ctl.draining import TIMEOUT, Progress
from ctl.fanout import Answer
from ctl.targets import Settings, again, resolve
from ctl.text import Duration
from ctl.watch import view
from peerd.errors import InvalidInputError


@click.group(cls=Group)
def node() -> None:
    """The daemon itself.

    \b
    Examples:
      peerctl --context alice node health
      peerctl --context alice node drain
    """


@node.command("health", cls=Command)
@pass_settings
def health(settings: Settings) -> int:
    """Whether the daemon is up: what its gRPC health service (grpc.health.v1) says of it as a whole.

    The exit code is 0 when it serves, and 1 when it is starting or stopping, or does not answer: for
    containers and load balancers.

    \b
    Examples:
      peerctl --endpoint unix:/var/lib/peerd/control.sock node health --timeout 3s
      peerctl --all node health
    """
    targets, answers = ask(settings, Client.serving)
    code = show(settings, targets, answers, lambda serves: {"serving": serves}, _healths)
    return code or int(not all(answer.value for answer in answers.good))


def _healths(answers: Sequence[Answer[bool]]) -> RenderableType:
    return render.table(
        ("Peer", "Health"), [(a.name, "serving" if a.value else "not serving") for a in answers]
    )


@node.command("drain", cls=Command)
@click.option("--timeout", "patience", type=Duration(positive=True), default=60.0,
              help="It goes then all the same.  [default: 1m]")  # fmt: skip
@click.option("--stay", is_flag=True, help="Do not end the daemon: it is away until it is started anew.")
@click.option("--yes", is_flag=True, help="Needed with --all, which would stop the whole network.")
@pass_settings
def drain(settings: Settings, patience: float, stay: bool, yes: bool) -> int:
    """Let the peer leave politely, so that nobody waits for it.

    It tells the others, takes no new packets, sends what it still has, waits for its acknowledgements and
    answers those of others; then the daemon ends. Do this before an upgrade, a reboot, or for good.

    The exit code is 0 when nothing was left to do, and 1 when it went with something undone. Drain peers one
    at a time: the others need mix nodes.

    \b
    Examples:
      peerctl --context bob node drain
      peerctl --endpoint unix:/var/lib/peerd/control.sock node drain --timeout 5m
      peerctl --context bob node drain --stay
    """
    if settings.all and not yes:
        raise InvalidInputError("--all would stop the whole network; name peers with --on, or say --yes")
    targets = resolve(settings)
    quiet = settings.for_programs
    with view(render.progress_console(stderr=quiet), silent=quiet) as shown:
        try:
            answers = aio.run(draining.drain(targets.endpoints, patience, stay, shown))
        except KeyboardInterrupt:
            raise UserInterruptError(
                "interrupted; the others know already that the peer leaves, but its daemon goes on: "
                f"`{again(settings, 'node', 'drain')}` takes up the draining"
            ) from None
    code = show(settings, targets, answers, render.plain, _look)
    return code or int(any(answer.value.state == TIMEOUT for answer in answers.good))


def _look(answers: Sequence[Answer[Progress]]) -> RenderableType:
    columns = ("Peer", "Result", "Own messages#", "Packets of others#")
    rows = [(a.name, a.value.state, a.value.messages, a.value.packets) for a in answers]
    return render.table(columns, rows)
