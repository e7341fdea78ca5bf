"""Draining peers: following each until it has left."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, fan_out
from ctl.text import number_of, one_line
from ctl.watch import View
from peerd.errors import PeerdError, UnavailableError
from peerd.pb import node_pb2

Progress = node_pb2.DrainProgress
DRAINED, TIMEOUT = "drained", "timeout"
ENDS = frozenset({DRAINED, TIMEOUT})


async def drain(endpoints: Sequence[Endpoint], patience: float, stay: bool, shown: View) -> Answers[Progress]:
    """The last that each says: `drained`, or `timeout` after `patience` seconds. UnavailableError for one
    that goes before that."""
    known: dict[str, Progress] = {}

    def table() -> RenderableType:
        return Text("\n".join(line(name, progress) for name, progress in known.items()))

    async def one(client: Client) -> Progress:
        name = client.endpoint.name
        try:
            async for progress in client.drain(patience, stay):
                if known.get(name, Progress()).state != progress.state:
                    shown.lines([line(name, progress)])
                known[name] = progress
        except UnavailableError:
            if known.get(name, Progress()).state not in ENDS:  # else it has ended, as it should
                raise
        last = known.get(name, Progress())
        if last.state not in ENDS:
            raise PeerdError(f"{name}: stopped draining: {line(name, last)}")
        return last

    shown.draw(table)
    try:
        return await fan_out(endpoints, one, patience)
    finally:
        shown.draw(None)


def line(name: str, progress: Progress) -> str:
    """One peer, one moment."""
    state = one_line(progress.state) or "asked to leave"
    own, others = number_of(progress.messages, "own message"), number_of(progress.packets, "packet")
    return f"{name}: {state}, {own} unacknowledged, {others} of others to pass on"
