"""`peerctl mix show|set`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import RenderableType

from ctl import render
from ctl.app import Command, Group, ask, pass_settings, show
from ctl.choices import HOPS, STRATEGY
from ctl.client import Client
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.text import Duration, duration
from peerd.errors import InvalidInputError
from peerd.pb import mixing_pb2

Config = mixing_pb2.MixingConfig
SECONDS = "_seconds"
"""Ends the names of fields that are shown with a unit, as `mix set` takes them."""
COUNT = click.IntRange(min=0)


@click.group(cls=Group)
def mix() -> None:
    """How peers mix, cover and route."""


@mix.command("show", cls=Command)
@pass_settings
def show_mixing(settings: Settings) -> int:
    """The mixing configuration in force.

    \b
    Examples:
      peerctl mix show
      peerctl --all mix show
    """
    targets, answers = ask(settings, Client.mixing)
    return show(settings, targets, answers, render.plain, _look)


@mix.command("set", cls=Command)
@click.option("--strategy", type=STRATEGY)
@click.option("--hops", type=HOPS, help="Mix nodes on every own path.")
@click.option("--mean-delay", "mean_delay_seconds", type=Duration(), help="exponential: mean per hop.")
@click.option(
    "--max-delay",
    "max_delay_seconds",
    type=Duration(),
    help="Headers that ask for more are refused.",
)
@click.option("--loop-rate", "loop_rate_per_second", type=float, help="Loop cover a second.")
@click.option("--drop-rate", "drop_rate_per_second", type=float, help="Drop cover a second.")
@click.option("--outbox-size", type=COUNT, help="outbox: packets in the box.")
@click.option(
    "--outbox-interval",
    "outbox_interval_seconds",
    type=Duration(),
    help="outbox: mean time between two departures.",
)
@click.option(
    "--outbox-jitter",
    "outbox_jitter_seconds",
    type=Duration(),
    help="outbox: its standard deviation.",
)
@click.option("--queue-limit", type=COUNT, help="Packets that the strategy may hold.")
@pass_settings
def set_mixing(settings: Settings, /, **changes: Any) -> int:
    """Change mixing at runtime: what is given changes, nothing queued is lost.

    The configuration then in force is printed. Durations take a unit (50ms, 2s) or are in seconds.

    \b
    Examples:
      peerctl --all mix set --hops 2 --mean-delay 20ms
      peerctl --all mix set --strategy outbox --outbox-interval 5ms
      peerctl --context alice mix set --loop-rate 0 --drop-rate 0
    """
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        raise InvalidInputError("nothing to set; see peerctl mix set --help")
    request = _request(given)
    targets, answers = ask(settings, lambda client: client.update_mixing(request))
    return show(settings, targets, answers, render.plain, _look)


def _request(given: dict[str, Any]) -> mixing_pb2.UpdateMixingRequest:
    try:
        return mixing_pb2.UpdateMixingRequest(**given)
    except ValueError as error:  # a number that does not fit its field
        raise InvalidInputError(f"mix set: {error}") from None


def _look(answers: Sequence[Answer[Config]]) -> RenderableType:
    """Fields down, peers across."""
    fields = [field.name for field in Config.DESCRIPTOR.fields]
    names = [answer.name for answer in answers]
    rows = [
        (name.removesuffix(SECONDS), *(_cell(name, getattr(a.value, name)) for a in answers))
        for name in fields
    ]
    return render.table(("Setting", *names), rows)


def _cell(field: str, value: Any) -> str:
    if field.endswith(SECONDS):
        return duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
