"""What a run put on the links, from the daemons' counters, told apart from what would be there without it.

Every cell on every link has one size, so bytes are cells. Of the cells that a daemon sends

    the run     own messages and their resends, acknowledgements, and what it forwards of the others' ones
    cover       loops, drops, dummies, and what it forwards and acknowledges of the others' ones
    beside      keepalive of the links, gossip

A mix node cannot know whether it forwards a message or cover: that is what cover is for. So the first two
can only be told apart where there is none, and `QUIET` turns it off. What is beside goes on all the time:
it depends on how long a run takes, thus on the processor, and not on what the run sends.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import fan_out
from peerd.config import LinkConfig
from peerd.errors import UnavailableError
from peerd.pb import node_pb2
from peerd.types import PacketKind

QUIET: Mapping[str, Any] = MappingProxyType(
    {
        "strategy": "exponential",
        "direct": False,
        "send_rate_per_second": 0.0,
        "loop_rate_per_second": 0.0,
        "drop_rate_per_second": 0.0,
    }
)
"""Mixing without any cover, whatever the daemon's defaults are; paths and delays are as always."""
SELDOM = LinkConfig(keepalive_seconds=5.0, dead_after_seconds=20.0)
"""Links asked less often than by default, so that little is beside the run."""
RUN = (PacketKind.OWN, PacketKind.ACK, PacketKind.FORWARDED)
COVER = (PacketKind.LOOP, PacketKind.DROP, PacketKind.DUMMY)
CALL_SECONDS = 30.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of all peers together."""

    cells: Counter[str]
    """That left to a link, by kind of packet; keepalive has none."""
    all_bytes: int
    """Of all cells on all links, each counted once, where it is sent."""
    cell_bytes: int
    resent: int
    gave_up: int
    dropped: Counter[str]

    @staticmethod
    def of(statuses: Iterable[node_pb2.NodeStatus]) -> Traffic:
        """Since the daemons' starts."""
        known = [status.traffic for status in statuses]
        cells, dropped = Counter[str](), Counter[str]()
        for one in known:
            cells.update(dict(one.packets))
            dropped.update(dict(one.dropped))
        return Traffic(
            cells=cells,
            all_bytes=sum(one.bytes_sent for one in known),
            cell_bytes=max(one.cell_bytes for one in known),
            resent=sum(one.resent for one in known),
            gave_up=sum(one.gave_up for one in known),
            dropped=dropped,
        )

    def since(self, before: Traffic) -> Traffic:
        return Traffic(
            cells=self.cells - before.cells,
            all_bytes=self.all_bytes - before.all_bytes,
            cell_bytes=self.cell_bytes,
            resent=self.resent - before.resent,
            gave_up=self.gave_up - before.gave_up,
            dropped=self.dropped - before.dropped,
        )

    @property
    def run_cells(self) -> int:
        """Of the run, as far as there is no cover."""
        return sum(self.cells[kind] for kind in RUN)

    @property
    def run_bytes(self) -> int:
        return self.run_cells * self.cell_bytes

    @property
    def cover_cells(self) -> int:
        """Own ones of the peers, not yet forwarded by anybody."""
        return sum(self.cells[kind] for kind in COVER)


async def settled(endpoints: Iterable[Endpoint], patience: float) -> Traffic:
    """The counters when no message waits for its acknowledgement on any peer, and nothing of the run has left
    since the look before: the peers' answers are not of one moment. UnavailableError after `patience`
    seconds, and for a peer that does not answer."""
    known, before = tuple(endpoints), -1
    try:
        async with asyncio.timeout(patience):
            while True:
                answers = await fan_out(known, Client.status, CALL_SECONDS)
                for failure in answers.bad:
                    raise failure.error
                statuses = [answer.value for answer in answers.good]
                now = Traffic.of(statuses)
                waiting = any(status.traffic.in_flight + status.traffic.queued for status in statuses)
                if not waiting and now.run_cells == before:
                    return now
                before = now.run_cells
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise UnavailableError(
            f"after {patience:.0f} s there are still messages without acknowledgement"
        ) from None
