"""One peer more closely, below the table: what it is, its curve, its links."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from ctl.text import count, one_line, seconds
from ctl.top.columns import compact, moment
from ctl.top.marks import Marks
from ctl.top.model import Model, Row
from ctl.top.sample import Sample
from peerd.pb import node_pb2, peers_pb2

CURVE = 60
LINK_TITLES = ("Link to", "State", "Since", "Out", "In", "RTT", "Queue", "Loops", "Skew")
LINK_WIDTHS = (14, 7, 7, 10, 4, 6, 5, 5, 7)
NUMBERS = frozenset({"Since", "RTT", "Queue", "Loops", "Skew"})
SHORTEST = 2
STATES = {"alive": "green", "suspect": "yellow", "dead": "red", "joining": "dim"}


def panel(row: Row, model: Model, room: tuple[int, int], marks: Marks) -> list[Text]:
    """At most `room` (columns, lines); empty where that is too little to say anything."""
    width, height = room
    if height < SHORTEST:
        return []
    title = f"{marks.line(2)} {row.name} "
    lines = [Text(title + marks.line(width - len(title)), style="bold")]
    sample = model.sample(row.name)
    if sample is None or sample.status is None:
        return [*lines, Text(row.error or "It has not answered yet.", style="red" if row.error else "dim")]
    lines += _about(sample.status)
    curve = marks.curve(model.history(row.name), min(CURVE, width - 20))
    if curve:
        latest = compact(row.rates.cells_out if row.rates else None)
        lines.append(Text.assemble(("cells out   ", "dim"), (curve, "green"), f" {latest}/s"))
    return (lines + list(_links(sample, height - len(lines))))[:height]


def _about(status: node_pb2.NodeStatus) -> list[Text]:
    """Two lines."""
    traffic, trainer = status.traffic, status.trainer
    mixing = "DIRECT: NO ANONYMITY" if "direct" in status.alarms else f"{status.strategy}, {status.hops} hops"
    first = [
        ("up", seconds(status.uptime_seconds)),
        ("peerd", status.version),
        ("mixing", mixing),
        ("epoch", str(status.epoch)),
        ("trainer", trainer.state + (f", {trainer.restarts} restarts" if trainer.restarts else "")),
    ]
    dropped = sum(traffic.dropped.values())
    second = [
        ("delivered", count(traffic.delivered)),
        ("acked", count(traffic.acked)),
        ("resent", count(traffic.resent)),
        ("gave up", count(traffic.gave_up)),
        ("dropped", count(dropped)),
        ("RTT p95", moment(traffic.rtt_p95_seconds or None)),
    ]
    return [_pairs(first), _pairs(second)]


def _pairs(pairs: list[tuple[str, str]]) -> Text:
    line = Text()
    for name, value in pairs:
        line.append(f"{name} ", style="dim")
        line.append(f"{one_line(value)}  ")
    return line


def _links(sample: Sample, room: int) -> Iterator[Text]:
    """Those that are not well first, where not all have room."""
    if room < SHORTEST or not sample.peers:
        return
    yield _cells(LINK_TITLES, ["bold cyan"] * len(LINK_TITLES))
    peers = sorted(sample.peers, key=lambda peer: (_well(peer), peer.name))
    fit = room - 1 if len(peers) <= room - 1 else room - 2
    for peer in peers[:fit]:
        yield _cells(_link(peer), ["bold", STATES.get(peer.state, "")] + [""] * (len(LINK_TITLES) - 2))
    if len(peers) > fit:
        yield Text(f"and {len(peers) - fit} more: peerctl --context NAME peers", style="dim")


def _well(peer: peers_pb2.Peer) -> bool:
    return peer.state == "alive" and peer.outbound == "up" and peer.inbound == "up" and not peer.damped


def _link(peer: peers_pb2.Peer) -> tuple[str, ...]:
    ahead = peer.clock_skew_seconds
    return (
        one_line(peer.name),
        "damped" if peer.damped else one_line(peer.state),
        seconds(peer.since_seconds),
        one_line(peer.outbound) or "-",
        one_line(peer.inbound) or "-",
        moment(peer.link_rtt_seconds or None),
        str(peer.queue_depth),
        f"{100 * peer.loop_quality:.0f}%" if peer.HasField("loop_quality") else "-",
        f"{'-' if ahead < 0 else '+'}{moment(abs(ahead))}" if peer.HasField("clock_skew_seconds") else "-",
    )


def _cells(texts: tuple[str, ...], styles: list[str]) -> Text:
    line = Text()
    for title, text, width, style in zip(LINK_TITLES, texts, LINK_WIDTHS, styles, strict=True):
        line.append(text.rjust(width) if title in NUMBERS else text.ljust(width), style=style)
        line.append(" ")
    return line
