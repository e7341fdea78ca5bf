"""`peerctl events`"""

from __future__ import annotations

import json
import os
import time

import click

from ctl import render, streams
from ctl.app import Command, pass_settings
from ctl.events import EVENTS, Told
from ctl.fanout import Failure
from ctl.targets import Settings, resolve
from ctl.text import moment, one_line
from peerd.pb import node_pb2

COLOURS = {
    "alive": "green", "drained": "green", "dead": "red", "revoked": "red", "failed": "red", "raised": "red",
    "suspect": "yellow", "left": "yellow", "damped": "yellow", "timeout": "yellow", "over": "green",
}  # fmt: skip
"""By the last word of what happened, on a terminal."""
KIND_WIDTH = len("round")
MOST_EVENTS = 100_000
"""More than any daemon remembers."""


@click.command(cls=Command)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", "last", type=click.IntRange(min=0, max=MOST_EVENTS), default=20,
              help="The latest so many of all peers together; 0: all.  [default: 20]")  # fmt: skip
@pass_settings
def events(settings: Settings, follow: bool, last: int) -> int:
    """What happened lately: joins, leaves, suspicions, rounds, alarms.

    Of several peers (--all, --on) the events are merged by time, each with the peer that tells it. A peer
    that is lost is reported and the others go on; the exit code is then 5. With --output json, one object a
    line (yaml: a document): by, at (Unix time), kind (peer, run, round, alarm, node), peer, what, detail,
    number.

    \b
    Examples:
      peerctl events
      peerctl --all events --follow
      peerctl --on alice,bob events -n 0 -o json | jq 'select(.kind == "peer")'
    """
    targets = resolve(settings)
    width = max(len(endpoint.name) for endpoint in targets.endpoints) if targets.many else 0

    def tell(told: Told) -> None:
        if settings.output == "json":
            click.echo(as_json(told))
        elif settings.output == "yaml":
            render.print_next(_data(told), "yaml")
        else:
            click.echo(line(told, width, time.time()))

    def lost(failure: Failure) -> None:
        render.report_failures([failure], settings.output)

    return streams.play(EVENTS, targets.endpoints, last, settings.timeout, tell, lost, on=follow)


def as_json(told: Told) -> str:
    """In ASCII: there are more line breaks in Unicode than one thinks of."""
    return json.dumps(_data(told), allow_nan=False)


def _data(told: Told) -> dict[str, object]:
    return {"by": told.by, **render.plain(told.item)}


def line(told: Told, width: int, now: float) -> str:
    """For people, in local time: `12:03:44 alice peer  bob dead: no link for 4 s`."""
    event = told.item
    name = f"{one_line(told.by):<{width}} " if width else ""
    return f"{moment(event.at, now)} {name}{one_line(event.kind):<{KIND_WIDTH}} {text(event)}"


def text(event: node_pb2.Event) -> str:
    """What happened, to whom, and why."""
    what = one_line(event.what)
    colour = None if os.environ.get("NO_COLOR") else COLOURS.get(what.rpartition(" ")[2])
    shown = click.style(what, fg=colour) if colour else what  # echo leaves colours out where no terminal is
    subject = f"{one_line(event.peer)} " if event.peer else ""
    detail = f": {one_line(event.detail)}" if event.detail else ""
    return f"{subject}{shown}{detail}"
