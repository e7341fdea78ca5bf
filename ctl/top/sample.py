"""What a peer says of itself at one moment, and what two such moments say of the time between them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from ctl.aio import together
from ctl.board import cover_of
from ctl.client import Client
from peerd.errors import PeerdError
from peerd.pb import mixing_pb2, node_pb2, peers_pb2, runs_pb2

T = TypeVar("T")
OWN = ("own", "ack")
"""Kinds of packets of the peer's own traffic."""


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    """Seconds of a monotonic clock, when it was asked for."""
    status: node_pb2.NodeStatus | None = None
    """None: it did not answer."""
    run: runs_pb2.RunStatus | None = None
    mixing: mixing_pb2.MixingMeasured | None = None
    peers: tuple[peers_pb2.Peer, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Rates:
    """A second, on average. Cells are all that goes over the links: packets, pings and gossip."""

    cells_in: float
    cells_out: float
    forwarded: float
    own: float
    """Own messages and acknowledgements."""
    cover: float
    dropped: float
    cpu: float
    """Cores: 1.0 is one core all the time."""
    trainer_cpu: float


def rates(before: Sample, now: Sample) -> Rates | None:
    """None where there is no answer at one end, or another life of the daemon."""
    old, new, seconds = before.status, now.status, now.at - before.at
    if old is None or new is None or seconds <= 0 or new.uptime_seconds < old.uptime_seconds:
        return None
    was, has = old.traffic, new.traffic
    cell = max(1, has.cell_bytes)
    kinds = (sum(has.packets[kind] - was.packets[kind] for kind in OWN),
             cover_of(has.packets) - cover_of(was.packets))  # fmt: skip
    grown = (
        (has.bytes_received - was.bytes_received) / cell,
        (has.bytes_sent - was.bytes_sent) / cell,
        has.packets["forwarded"] - was.packets["forwarded"],
        *kinds,
        sum(has.dropped.values()) - sum(was.dropped.values()),
        new.cpu_seconds - old.cpu_seconds,
        new.trainer.cpu_seconds - old.trainer.cpu_seconds,
    )
    return Rates(*(max(0.0, value / seconds) for value in grown))


async def take(client: Client, at: float) -> Sample:
    """Ask for all of it. PeerdError when the daemon does not say how it is; what else it does not say is
    left out."""
    status = await client.status()
    answers = await together(
        _or_none(client.run()) if status.run_id else _nothing(),
        _or_none(client.mixing_measured()),
        _or_none(client.peers()),
    )
    run, mixing, peers = answers
    return Sample(
        at,
        status,
        run if isinstance(run, runs_pb2.RunStatus) else None,
        mixing if isinstance(mixing, mixing_pb2.MixingMeasured) else None,
        tuple(peers) if isinstance(peers, list) else (),
    )


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except PeerdError:
        return None


async def _nothing() -> None:
    return None
