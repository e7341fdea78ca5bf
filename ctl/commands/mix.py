"""`peerctl mix show|set|presets`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import click
from rich.console import Group as Stack
from rich.console import RenderableType

from ctl import render
from ctl.app import Command, Group, ask, pass_settings, report, show, watchable
from ctl.choices import HOPS, PRESET, STRATEGY
from ctl.client import Client
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.text import Duration, count, duration, seconds, size
from peerd.errors import InvalidInputError
from peerd.pb import mixing_pb2
from peerd.presets import PRESETS

Config = mixing_pb2.MixingConfig
SECONDS = "_seconds"
"""Ends the names of fields that are shown with a unit, as `mix set` takes them."""
COUNT = click.IntRange(min=0)
RATE = click.FloatRange(min=0.0)
SHARE = click.FloatRange(min=0.0, max=1.0)


class Mixing(NamedTuple):
    """What `mix show` asks a peer for."""

    config: Config
    measured: mixing_pb2.MixingMeasured


@click.group(cls=Group)
def mix() -> None:
    """How peers mix, cover and route."""


@mix.command("show", cls=Command)
@watchable
@pass_settings
def show_mixing(settings: Settings) -> int:
    """The mixing configuration in force, and what it does: entropy, cover, loops, epoch.

    "Entropy of a departure" is how many bits hide which packet went in of the one that comes out, at
    this mix node. "Sender hidden" is an estimate over a whole path: who of the living peers sent a
    message that arrives, for somebody who watches every wire and is its recipient; it assumes that all
    mix alike and that all send alike (see --send-rate). "False replays" is how many fresh packets the
    replay filters take for replays, on average: a share, and of all packets that the mix keys have seen.

    \b
    Examples:
      peerctl mix show
      peerctl --all mix show
      peerctl mix show -o json
    """

    async def both(client: Client) -> Mixing:
        return Mixing(await client.mixing(), await client.mixing_measured())

    return report(settings, both, _data, _look_at_both)


@mix.command("set", cls=Command)
@click.option("--preset", type=PRESET, help="Delay and cover together; see `mix presets`.")
@click.option("--strategy", type=STRATEGY, help="How packets are mixed.")
@click.option("--hops", type=HOPS, help="Mix nodes on every own path.")
@click.option("--direct", type=click.BOOL, metavar="on|off", help="Send without a mixnet: NO ANONYMITY.")
@click.option("--mean-delay", "mean_delay_seconds", type=Duration(), help="exponential: mean per hop.")
@click.option(
    "--max-delay",
    "max_delay_seconds",
    type=Duration(),
    help="Headers that ask for more are refused.",
)
@click.option(
    "--send-rate",
    "send_rate_per_second",
    type=RATE,
    help="Sender shaping: slots a second for own messages, drop cover in empty ones; 0: off.",
)
@click.option("--loop-rate", "loop_rate_per_second", type=RATE, help="Loop cover a second.")
@click.option("--drop-rate", "drop_rate_per_second", type=RATE, help="Drop cover a second.")
@click.option(
    "--cover-budget",
    "cover_budget_bytes_per_second",
    type=RATE,
    help="Most bytes of cover a second; lowers all three rates, not the dummies of outbox and threshold; "
    "0: no limit.",
)
@click.option("--loop-alarm", "loop_alarm_loss", type=SHARE, help="Loss of loops that raises the alarm.")
@click.option("--threshold-size", type=COUNT, help="threshold: packets of a batch, at most 256.")
@click.option(
    "--threshold-patience",
    "threshold_patience_seconds",
    type=Duration(),
    help="threshold: then a batch is filled up with dummies; 0: never.",
)
@click.option(
    "--timed-interval", "timed_interval_seconds", type=Duration(), help="timed: between two flushes."
)
@click.option("--pool-interval", "pool_interval_seconds", type=Duration(), help="pool: the same.")
@click.option("--pool-minimum", type=COUNT, help="pool: packets that always stay.")
@click.option("--pool-rate", type=SHARE, help="pool: largest share that is sent at a time.")
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

    A preset comes first, other options go over it. The configuration then in force is printed.
    Durations take a unit (50ms, 2s) or are in seconds.

    \b
    Examples:
      peerctl --all mix set --preset strong
      peerctl --all mix set --hops 2 --mean-delay 20ms
      peerctl --all mix set --strategy pool --pool-interval 200ms --pool-minimum 10
      peerctl --all mix set --send-rate 20 --cover-budget 250000
      peerctl --context alice mix set --loop-rate 0 --drop-rate 0
      peerctl --all mix set --direct on          for experiments only
    """
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        raise InvalidInputError("nothing to set; see peerctl mix set --help")
    request = _request(given)
    targets, answers = ask(settings, lambda client: client.update_mixing(request))
    return show(settings, targets, answers, render.plain, _look)


@mix.command("presets", cls=Command)
@pass_settings
def presets(settings: Settings) -> None:
    """What `--preset` sets. The README has the measured delay, cover and anonymity of each.

    \b
    Example:
      peerctl mix presets
    """
    if settings.for_programs:
        render.print_data({name: dict(fields) for name, fields in PRESETS.items()}, settings.output)
        return
    fields = list(dict.fromkeys(field for preset in PRESETS.values() for field in preset))
    rows = [
        (field.removesuffix(SECONDS), *(_cell(field, preset.get(field, "")) for preset in PRESETS.values()))
        for field in fields
    ]
    render.show(render.table(("Setting", *PRESETS), rows))


def _request(given: dict[str, Any]) -> mixing_pb2.UpdateMixingRequest:
    try:
        return mixing_pb2.UpdateMixingRequest(**given)
    except ValueError as error:  # a number that does not fit its field
        raise InvalidInputError(f"mix set: {error}") from None


def _data(mixing: Mixing) -> dict[str, Any]:
    return render.plain(mixing.config) | {"measured": render.plain(mixing.measured)}


def _look(answers: Sequence[Answer[Config]]) -> RenderableType:
    """Fields down, peers across; without the parameters of strategies that nobody uses."""
    used = {answer.value.strategy for answer in answers}
    fields = [field.name for field in Config.DESCRIPTOR.fields if _belongs(field.name, used)]
    names = [answer.name for answer in answers]
    rows = [
        (name.removesuffix(SECONDS), *(_cell(name, getattr(a.value, name)) for a in answers))
        for name in fields
    ]
    return render.table(("Setting", *names), rows)


def _belongs(field: str, used: set[str]) -> bool:
    strategy = field.partition("_")[0]
    if field == f"mean_delay{SECONDS}":
        return "exponential" in used
    return strategy not in STRATEGY.choices or strategy in used


def _cell(field: str, value: Any) -> str:
    if field == "direct":
        return "ON: NO ANONYMITY" if value else "off"
    if field == "cover_budget_bytes_per_second":
        return f"{size(value)}/s" if value else "no limit"
    if field == "send_rate_per_second" and not value:
        return "off"
    if field.endswith(SECONDS):
        return duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _look_at_both(answers: Sequence[Answer[Mixing]]) -> RenderableType:
    configs = [Answer(answer.name, answer.value.config) for answer in answers]
    columns = [_measured(answer.value) for answer in answers]
    rows = [(key, *(column.get(key, "") for column in columns)) for key in columns[0]]
    return Stack(_look(configs), "", render.table(("Measured", *(a.name for a in answers)), rows))


def _measured(mixing: Mixing) -> dict[str, str]:
    measured, loops, epoch = mixing.measured, mixing.measured.loops, mixing.measured.epoch
    hops = 0 if mixing.config.direct else mixing.config.hops
    rates = (measured.send_rate_per_second, measured.loop_rate_per_second, measured.drop_rate_per_second)
    bits = {"entropy of a departure": measured.entropy_bits, "its mean": measured.mean_entropy_bits}
    rows = {name: f"{value:.2f} bits" if measured.mixed else "none yet" for name, value in bits.items()}
    for path in measured.end_to_end:
        mark = " <- in force" if path.hops == hops else ""
        rows[f"sender hidden, {path.hops} hops"] = f"{path.bits:.2f} of {path.of_bits:.2f} bits{mark}"
    rows |= {
        "send, loop, drop rate": " ".join(f"{rate:.3g}" for rate in rates) + " a second",
        "cover forgone": count(measured.cover_forgone),
        "loops sent, home, lost": f"{count(loops.sent)}, {count(loops.returned)}, {count(loops.lost)}",
        "loss of the latest loops": f"{100 * loops.loss:.0f} %" if loops.HasField("loss") else "too few yet",
        "blending alarm": "RAISED: loops stay away" if loops.alarm else "no",
        "epoch": f"{epoch.epoch}, next in {seconds(epoch.ends_in_seconds)}",
        "mix keys accepted": ", ".join(map(str, sorted(epoch.accepted))),
        "replay tags": f"{count(epoch.replay_tags)} in {size(epoch.replay_bytes)}",
        "false replays, at most": f"{epoch.replay_false_positive_rate:.0e} of packets, "
        f"{epoch.replay_expected_false_positives:.3g} so far",
    }
    return rows
