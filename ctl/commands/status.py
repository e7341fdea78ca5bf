"""`peerctl status`"""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import RenderableType

from ctl import render
from ctl.alarms import ALARMS
from ctl.app import Command, pass_settings, report, watchable
from ctl.client import Client
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.text import RUN_DIGITS, count, number_of, seconds, size
from peerd.pb import node_pb2

NodeStatus = node_pb2.NodeStatus
COLUMNS = ("Peer", "Up#", "Alive#", "Run", "Stage", "Round#", "Memory#", "Forwarded#",
           "RTT#", "Gave up#", "Dropped#", "Alarms")  # fmt: skip
SPARE = ("Up#", "RTT#", "Run", "Forwarded#", "Memory#")


@click.command(cls=Command)
@watchable
@pass_settings
def status(settings: Settings) -> int:
    """How the daemon is: peers, mixing, run, traffic, resources.

    \b
    Examples:
      peerctl status                          the current endpoint, in detail
      peerctl --all status                    one line for every peer
      peerctl --on alice,bob status -o json
    """
    look = _rows if settings.many else _detail
    return report(settings, Client.status, _data, look, Client.watch_status)


def _data(status: NodeStatus) -> dict[str, object]:
    """Without the single round-trip samples: their quantiles are there."""
    return render.plain(status, without={"rtt_samples"})


def _rows(answers: Sequence[Answer[NodeStatus]]) -> RenderableType:
    return render.fitting(COLUMNS, (_row(answer.value) for answer in answers), SPARE)


def _stage(status: NodeStatus) -> str:
    """Of a run that goes on; else how it ended."""
    if status.draining:
        return "draining"
    return status.stage if status.run_state in ("", "running") else status.run_state


def _row(status: NodeStatus) -> tuple[object, ...]:
    traffic = status.traffic
    return (
        status.name,
        seconds(status.uptime_seconds),
        f"{status.peers_alive}/{status.peers_enrolled}",
        status.run_id[:RUN_DIGITS],
        _stage(status),
        status.round or "",
        size(status.rss_bytes),
        count(traffic.packets["forwarded"]),
        seconds(traffic.rtt_p50_seconds),
        count(traffic.gave_up),
        count(sum(traffic.dropped.values())),
        ", ".join(status.alarms).upper(),
    )


def _mixing(status: NodeStatus) -> str:
    if "direct" in status.alarms:
        return "none: direct mode"
    return f"{status.strategy}, {number_of(status.hops, 'hop')}"


def _run(status: NodeStatus) -> str:
    return f"{status.run_id[:RUN_DIGITS]} {status.run_state}" if status.run_id else "none"


def _detail(answers: Sequence[Answer[NodeStatus]]) -> RenderableType:
    status = answers[0].value
    traffic, trainer = status.traffic, status.trainer
    pairs: list[tuple[str, object]] = [
        ("peer", f"{status.name} ({status.peer_id})"),
        ("network", status.network),
        ("version", status.version),
        ("up", seconds(status.uptime_seconds)),
        ("links at", status.link_address),
        ("metrics at", status.metrics_address or "off"),
        ("peers alive", f"{status.peers_alive} of {status.peers_enrolled}"),
        *([("draining", "it leaves: nothing new goes through it")] if status.draining else []),
        *([("delegate", "may sign in newcomers (peerctl network invite)")] if status.delegate else []),
        ("mixing", _mixing(status)),
        ("ALARMS", ", ".join(ALARMS.get(alarm, alarm) for alarm in status.alarms) or "none"),
        ("epoch", status.epoch),
        ("run", _run(status)),
        ("round, stage", f"{status.round}, {status.stage}" if status.run_id else status.stage),
        ("trainer", _trainer(trainer)),
        ("daemon", f"{seconds(status.cpu_seconds)} CPU, {size(status.rss_bytes)} memory"),
        ("packets sent", _counts(traffic.packets)),
        ("dropped", _counts(traffic.dropped) or "nothing"),
        ("delivered, acked", f"{count(traffic.delivered)}, {count(traffic.acked)}"),
        ("resent, gave up", f"{count(traffic.resent)}, {count(traffic.gave_up)}"),
        ("in flight, queued", f"{count(traffic.in_flight)}, {count(traffic.queued)}"),
        ("bytes sent, received", f"{size(traffic.bytes_sent)}, {size(traffic.bytes_received)}"),
        (
            "round trip p50, p95",
            f"{seconds(traffic.rtt_p50_seconds)}, {seconds(traffic.rtt_p95_seconds)}",
        ),
    ]
    return render.details(pairs)


def _trainer(trainer: node_pb2.TrainerStatus) -> str:
    text = f"{trainer.state}, {seconds(trainer.cpu_seconds)} CPU, {size(trainer.rss_bytes)} memory at most"
    if trainer.restarts:
        text += f", restarted {number_of(trainer.restarts, 'time')}: {trainer.last_error}"
    return text


def _counts(counts: object) -> str:
    if not hasattr(counts, "items"):
        return ""
    return ", ".join(f"{key} {count(value)}" for key, value in sorted(counts.items()))
