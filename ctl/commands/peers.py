"""`peerctl peers`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.console import Group, RenderableType

from ctl import render
from ctl.app import Command, ask, pass_settings, show
from ctl.client import Client
from ctl.fanout import Answer
from ctl.targets import Settings
from ctl.text import seconds
from peerd.pb import peers_pb2

Peers = list[peers_pb2.Peer]
COLUMNS = ("Peer", "State", "Since#", "Address", "Outbound", "Inbound", "Link RTT#", "Queue#", "Epoch#",
           "Loops#", "Loop excess#")  # fmt: skip
SPARE = ("Loop excess#", "Since#", "Queue#", "Inbound", "Epoch#", "Link RTT#")


@click.command(cls=Command)
@pass_settings
def peers(settings: Settings) -> int:
    """The other peers and the links to them, as this one sees them.

    "Epoch" is that of the newest mix key that a peer has announced; all of one network should agree.
    "Loops" is the share of this peer's loop cover through that mix node that came home lately. "Loop
    excess" is how much longer these took than the delays chosen for them, on average: all that links, queues
    and the mix nodes on the way add. A mix node that holds packets back stands out. A narrow terminal leaves
    columns out; -o json has all.

    \b
    Examples:
      peerctl peers
      peerctl --all peers
      peerctl --context alice peers -o json
    """
    targets, answers = ask(settings, Client.peers)
    return show(settings, targets, answers, _data, _look)


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
            peer.state,
            seconds(peer.since_seconds),
            peer.address,
            peer.outbound,
            peer.inbound,
            seconds(peer.link_rtt_seconds) if peer.link_rtt_seconds else "",
            peer.queue_depth,
            peer.epoch or "",
            f"{100 * peer.loop_quality:.0f} %" if peer.HasField("loop_quality") else "",
            seconds(peer.loop_excess_seconds) if peer.HasField("loop_excess_seconds") else "",
        )
