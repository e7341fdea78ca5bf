"""`peerctl peers`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.console import Group, RenderableType

from ctl import render
from ctl.app import Command, pass_settings, report, watchable
from ctl.client import Client
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.text import seconds
from peerd.pb import peers_pb2

Peers = list[peers_pb2.Peer]
COLUMNS = ("Peer", "State", "Since#", "Version#", "Epoch#", "Link RTT#", "Skew#", "Run", "Loops#", "Excess#",
           "Software", "Address", "Outbound", "Inbound", "Queue#")  # fmt: skip
SPARE = ("Excess#", "Queue#", "Inbound", "Outbound", "Software", "Address", "Skew#", "Loops#", "Epoch#",
         "Run")  # fmt: skip


@click.command(cls=Command)
@watchable
@pass_settings
def peers(settings: Settings) -> int:
    """The other peers and the links to them, as this one sees them, by name.

    \b
    States:
      joining  a member that has not been reached yet
      alive    reached: used as a mix node, and written to
      suspect  its link is down; used again at once when that is up
      left     said so itself (peerctl node drain)
      dead     suspect for too long: nobody waits for it
      revoked  by the authority, for good
      damped   it came and went too often, and must stay for a while

    "Version" is that of its descriptor, "Epoch" that of its newest mix key: all of one network should agree.
    "Skew" is how far its clock is ahead of this peer's. "Run": from which round on it contributes, or that it
    listens. "Loops" is the share of this peer's loop cover through that mix node that came home lately,
    "Excess" how much longer those took than the delays chosen for them: a mix node that holds packets back
    stands out. A narrow terminal shows fewer columns; --output json has everything.

    \b
    Examples:
      peerctl peers
      peerctl --all peers
      peerctl --context alice peers -o json
    """
    return report(settings, _sorted, _data, _look)


async def _sorted(client: Client) -> Peers:
    return sorted(await client.peers(), key=lambda peer: peer.name)


def _data(peers: Peers) -> list[dict[str, object]]:
    return [render.plain(peer) for peer in peers]


def _look(answers: Sequence[Answer[Peers]]) -> RenderableType:
    tables: list[RenderableType] = []
    for answer in answers:
        title = f"{answer.name} sees" if len(answers) > 1 else None
        tables += [render.fitting(COLUMNS, _rows(answer.value), SPARE, title), ""]
    return Group(*tables[:-1])


def _rows(peers: Peers) -> Iterator[tuple[object, ...]]:
    for peer in peers:
        yield (
            peer.name,
            f"{peer.state}, damped" if peer.damped else peer.state,
            seconds(peer.since_seconds),
            peer.version or "",
            peer.epoch or "",
            seconds(peer.link_rtt_seconds) if peer.link_rtt_seconds else "",
            skew(peer.clock_skew_seconds) if peer.HasField("clock_skew_seconds") else "",
            _run(peer),
            f"{100 * peer.loop_quality:.0f} %" if peer.HasField("loop_quality") else "",
            seconds(peer.loop_excess_seconds) if peer.HasField("loop_excess_seconds") else "",
            peer.software,
            peer.address,
            peer.outbound,
            peer.inbound,
            peer.queue_depth,
        )


def skew(value: float) -> str:
    """Seconds, with a sign."""
    sign = "-" if value < 0 else "+"
    return f"{sign}{seconds(abs(value))}"


def _run(peer: peers_pb2.Peer) -> str:
    """What the peer says of its part in a run."""
    if not peer.run_id:
        return ""
    if peer.other_model:
        return "other model"
    return f"from {peer.contributes_from}" if peer.contributes_from else "listens"
