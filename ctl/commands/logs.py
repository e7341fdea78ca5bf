"""`peerctl logs`"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import click

from ctl import render, streams
from ctl.app import Command, pass_settings
from ctl.client import Client
from ctl.fanout import Failure
from ctl.targets import Settings, resolve
from ctl.text import moment, number_of, one_line, printable
from peerd.pb import logs_pb2

COLOURS = {"debug": "bright_black", "info": "green", "warning": "yellow", "error": "red"}
LEVEL_WIDTH = len("warning")
OVERLAP = 200
MOST_LINES = 100_000
"""More than any daemon remembers."""

LogLine: TypeAlias = logs_pb2.LogLine
Said: TypeAlias = streams.Told[LogLine]


@click.command(cls=Command)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", "last", type=click.IntRange(min=0, max=MOST_LINES), default=50,
              help="The latest so many of all peers together; 0: all.  [default: 50]")  # fmt: skip
@click.option("--level", type=click.Choice(list(COLOURS)), default="debug",
              help="These and worse.  [default: debug]")  # fmt: skip
@pass_settings
def logs(settings: Settings, following: bool, last: int, level: str) -> int:
    """What daemons log: the latest lines that each remembers, redacted as everywhere.

    Of several peers (--all, --on) lines are merged by time, each with its peer's name. A daemon remembers
    its latest 4,096 lines of at least its own level (`config set logging.level=debug`). Who reads too slowly
    misses lines, and is told how many. With --output json, one object a line: by, at (Unix time), level,
    event, fields, number.

    \b
    Examples:
      peerctl logs
      peerctl --all logs --follow --level warning
      peerctl --on alice,bob logs -n 0 -o json | jq 'select(.event == "run started")'
    """
    targets = resolve(settings)
    width = max(len(endpoint.name) for endpoint in targets.endpoints) if targets.many else 0

    def say(said: Said) -> None:
        if settings.output == "json":
            click.echo(as_json(said))
        elif settings.output == "yaml":
            render.print_next(_data(said), "yaml")
        else:
            click.echo(text_of(said, width, time.time()))

    def lost(name: str, count: int) -> None:
        if settings.for_programs:
            render.print_notice({"by": name, "lost": count}, settings.output)
        else:
            click.echo(f"peerctl: {name}: {number_of(count, 'line')} lost: they came too fast", err=True)

    def gone(failure: Failure) -> None:
        render.report_failures([failure], settings.output)

    def recall(client: Client, last: int) -> AsyncIterator[LogLine]:
        return _lines(client.logs(False, last, level), lambda count: lost(client.endpoint.name, count))

    def follow(client: Client, last: int) -> AsyncIterator[LogLine]:
        return _lines(client.logs(True, last, level), lambda count: lost(client.endpoint.name, count))

    stream = streams.Stream("log lines", recall, follow, OVERLAP)
    return streams.play(stream, targets.endpoints, last, settings.timeout, say, gone, on=following)


async def _lines(
    batches: AsyncIterator[logs_pb2.LogBatch], lost: Callable[[int], None]
) -> AsyncIterator[LogLine]:
    async for batch in batches:
        if batch.lost:
            lost(batch.lost)
        for line in batch.lines:
            yield line


def as_json(said: Said) -> str:
    """In ASCII: there are more line breaks in Unicode than one thinks of."""
    return json.dumps(_data(said), allow_nan=False)


def _data(said: Said) -> dict[str, Any]:
    line = said.item
    head = {"by": said.by, "at": line.at, "level": line.level, "event": line.event}
    return {**head, "fields": fields(line.fields), "number": line.number}


def fields(text: str) -> dict[str, Any]:
    """What came with a line; nothing where a peer sends something else."""
    try:
        found = json.loads(text, parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text_of(said: Said, width: int, now: float) -> str:
    """For people, in local time: `12:03:44 alice info    run started task=digits-cnn`. A traceback follows
    its line."""
    line, known = said.item, fields(said.item.fields)
    name = f"{one_line(said.by):<{width}} " if width else ""
    trace = known.pop("exception", "")
    rest = " ".join(f"{one_line(key)}={_value(value)}" for key, value in known.items())
    shown = f"{moment(line.at, now)} {name}{_level(line.level)} {one_line(line.event)} {rest}".rstrip()
    indented = [f"    {printable(one)}" for one in str(trace).splitlines()]
    return "\n".join([shown, *indented])


def _level(level: str) -> str:
    text = f"{one_line(level):<{LEVEL_WIDTH}}"
    colour = None if os.environ.get("NO_COLOR") else COLOURS.get(level)
    return click.style(text, fg=colour) if colour else text  # echo leaves colours out where no terminal is


def _value(value: Any) -> str:
    return one_line(value if isinstance(value, str) else json.dumps(value))
