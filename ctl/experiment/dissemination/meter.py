"""What daemons have sent, from their own counters; what they and their trainers keep in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import fan_out
from ctl.testbed import Testbed
from ctl.testbed.processes import started_by
from peerd.errors import UnavailableError
from peerd.pb import node_pb2
from peerd.types import PacketKind

CALL_SECONDS = 30.0
STILL_SECONDS = 60.0
"""A run that is over everywhere is over on the wires within this."""
LOOK_SECONDS = 0.3
MEMORY_SECONDS = 2.0
"""Between two looks: each reads all pages of all processes."""
OF_THE_RUN = (PacketKind.OWN, PacketKind.FORWARDED, PacketKind.ACK)
"""While there is no cover: messages, what is passed on of them and of their acknowledgements, and these."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums over all daemons since their start."""

    packets: Mapping[str, int]
    """That left, by kind."""
    bytes_sent: int
    """On links: packets, gossip and pings."""
    resent: int = 0
    gave_up: int = 0

    @classmethod
    def of(cls, statuses: Sequence[node_pb2.NodeStatus]) -> Reading:
        packets: Counter[str] = Counter()
        for status in statuses:
            packets.update(dict(status.traffic.packets))
        return cls(
            packets,
            sum(status.traffic.bytes_sent for status in statuses),
            sum(status.traffic.resent for status in statuses),
            sum(status.traffic.gave_up for status in statuses),
        )

    def since(self, before: Reading) -> Reading:
        return Reading(
            {kind: count - before.packets.get(kind, 0) for kind, count in self.packets.items()},
            self.bytes_sent - before.bytes_sent,
            self.resent - before.resent,
            self.gave_up - before.gave_up,
        )

    @property
    def of_the_run(self) -> int:
        """Packets."""
        return sum(self.packets.get(kind, 0) for kind in OF_THE_RUN)


async def read(endpoints: Sequence[Endpoint]) -> Reading:
    """When nothing is on its way any more. UnavailableError if that does not come about."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STILL_SECONDS):
            before = -1
            while True:
                statuses = await _statuses(endpoints)
                reading = Reading.of(statuses)
                waiting = sum(s.traffic.queued + s.traffic.in_flight for s in statuses)
                if not waiting and reading.of_the_run == before:
                    return reading
                before = reading.of_the_run
                await asyncio.sleep(LOOK_SECONDS)
    raise UnavailableError(f"packets are still on their way {STILL_SECONDS:.0f} s after the run")


async def _statuses(endpoints: Sequence[Endpoint]) -> list[node_pb2.NodeStatus]:
    answers = await fan_out(endpoints, Client.status, CALL_SECONDS)
    for failure in answers.bad:
        raise failure.error
    return [answer.value for answer in answers.good]


@dataclass(slots=True)
class Memory:
    """Bytes that would be free if the processes ended (USS), sums over all; the most at any look."""

    daemons: int = 0
    trainers: int = 0

    def look(self, testbed: Testbed) -> None:
        daemons = trainers = 0
        for peer in testbed.peers:
            if peer.process is not None:
                daemons += _unique(peer.process.pid)
                trainers += sum(_unique(one.pid) for one in started_by(peer.process))
        self.daemons, self.trainers = max(self.daemons, daemons), max(self.trainers, trainers)

    async def watch(self, testbed: Testbed) -> None:
        """Until cancelled."""
        while True:
            await asyncio.to_thread(self.look, testbed)
            await asyncio.sleep(MEMORY_SECONDS)

    def as_json(self) -> dict[str, Any]:
        return {"daemons": self.daemons, "trainers": self.trainers, "sum": self.daemons + self.trainers}


def _unique(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0  # it has just ended
