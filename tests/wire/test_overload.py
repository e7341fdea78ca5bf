"""Twice the packets that a relay can carry: it answers control calls, counts what it drops, stays small,
and relays as before as soon as that is over.

A relay that gets more than it can unwrap stops reading its links, so what is too much waits, and is dropped,
at the neighbour whose link is full: that is counted there. By itself a relay drops the replays of such a load
and, where senders ask for long delays, packets that its mix has no place for. Both are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import pytest

from peerd.pb import node_pb2 as node_pb
from peerd.pb import node_pb2_grpc

pytestmark = pytest.mark.quiet

BENCH = Path(__file__).parents[1] / "bench"
CALL_SECONDS = 0.02
CALL_LIMIT_SECONDS = 0.25
"""Of 99 in 100 calls."""
OWN_CORE = 0.8
"""A relay that gets so much of a core is not slowed by others: the limit is the limit."""
MOST_GROWTH_BYTES = 48 << 20
SETTLED_SECONDS = 30.0
LEAST_CORE = 0.1
"""That the relay must have used: less is a relay that was idle, or a machine that proves nothing."""
LEAST_CARRIED = 0.4
"""Of what it carries alone in the CPU time that it got. Half of what is offered are replays, each of which
costs it much of a hop too: measured, 0.66 to 0.69."""


class Load:
    """The process of `tests/bench/_relay/overload.py`, which starts the relay: it needs its own core."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def event(self, name: str) -> dict:
        line = await self._process.stdout.readline()
        told = json.loads(line) if line else {"event": "its end"}
        assert told["event"] == name
        return told


@contextlib.asynccontextmanager
async def load(folder: Path, seconds: float, *options: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "_relay.overload", folder, "--seconds", str(seconds), *options,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (BENCH, BENCH.parents[1])))},
    )  # fmt: skip
    try:
        yield Load(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def call_until(stub, ended: asyncio.Task) -> list[float]:
    """Seconds of each control call, sorted."""
    spent = []
    while not ended.done():
        start = time.perf_counter()
        await stub.GetStatus(node_pb.GetStatusRequest())
        spent.append(time.perf_counter() - start)
        await asyncio.sleep(CALL_SECONDS)
    return sorted(spent)


@dataclass
class Seen:
    capacity: float
    over: dict
    """What `_relay.overload` tells at the end of the load."""
    recovered: dict
    calls: list[float]
    """Seconds of control calls meanwhile, sorted."""
    before: node_pb.NodeStatus
    after: node_pb.NodeStatus

    @property
    def p99(self) -> float:
        return self.calls[math.ceil(0.99 * len(self.calls)) - 1]

    @property
    def dropped(self) -> dict[str, int]:
        """By the relay itself, by reason, since the load began."""
        earlier = self.before.traffic.dropped
        counted = {reason: count - earlier[reason] for reason, count in self.after.traffic.dropped.items()}
        return {reason: count for reason, count in counted.items() if count}

    def show(self) -> None:
        """Shown by -rP, and where an assertion fails."""
        print(
            f"capacity {self.capacity:.0f} packets a second; share of a core {self.over['share']:.2f}; "
            f"{len(self.calls)} control calls, p99 {1000 * self.p99:.1f} ms, "
            f"slowest {1000 * self.calls[-1]:.1f} ms\n"
            f"offered {self.over['offered']}, arrived {self.over['arrived']}; dropped at the neighbour "
            f"{self.over['refused']}, by the relay {self.dropped}\n"
            f"memory {self.before.rss_bytes / 2**20:.0f} MiB before, "
            f"at most {max(self.over['rss_bytes']) / 2**20:.0f} MiB; "
            f"recovered in {self.recovered['seconds']:.3f} s, {self.recovered['cpu_seconds']:.3f} s of CPU"
        )


async def overloaded(folder: Path, seconds: float, *options: str) -> Seen:
    async with load(folder, seconds, *options) as loaded:
        up = await loaded.event("up")
        async with grpc.aio.insecure_channel(f"unix:{up['socket']}") as channel:
            stub = node_pb2_grpc.NodeStub(channel)
            before = await stub.GetStatus(node_pb.GetStatusRequest())
            capacity = (await loaded.event("overload"))["capacity"]
            ended = asyncio.create_task(loaded.event("over"))
            calls = await call_until(stub, ended)
            recovered = await loaded.event("recovered")
            after = await settled(stub, recovered["accepted"])
    seen = Seen(capacity, ended.result(), recovered, calls, before, after)
    seen.show()
    return seen


async def settled(stub, accepted: int) -> node_pb.NodeStatus:
    """The status once nothing that the relay took is left in it: nothing is lost without a reason."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while True:
            status = await stub.GetStatus(node_pb.GetStatusRequest())
            gone = status.traffic.packets["forwarded"] + sum(status.traffic.dropped.values())
            assert gone <= accepted
            if gone == accepted:
                return status
            await asyncio.sleep(CALL_SECONDS)


def check_it_stays_responsive_and_small(seen: Seen) -> None:
    share = seen.over["share"]
    assert share > LEAST_CORE, seen.over
    # Where other programs take the core away from it, it can but be as much slower.
    limit = CALL_LIMIT_SECONDS if share > OWN_CORE else CALL_LIMIT_SECONDS / share
    assert seen.p99 < limit, seen.calls[-10:]
    assert max(seen.over["rss_bytes"]) - seen.before.rss_bytes < MOST_GROWTH_BYTES


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(8.0, marks=pytest.mark.timeout(180), id="short"),
        pytest.param(60.0, marks=[pytest.mark.soak, pytest.mark.timeout(600)], id="a minute"),
    ],
)
async def test_twice_the_load_that_a_relay_can_carry(tmp_path, seconds):
    seen = await overloaded(tmp_path, seconds)
    check_it_stays_responsive_and_small(seen)
    over, recovered = seen.over, seen.recovered

    # It was offered twice its capacity, and carried what it could in the time that it had.
    assert over["offered"] > 1.5 * seen.capacity * seconds, over
    assert over["arrived"] > LEAST_CARRIED * over["share"] * seen.capacity * seconds, (seen.capacity, over)

    # What was too much had to wait at the neighbour; the relay itself refused what had been there before.
    assert over["refused"].get("link_queue_full", 0) > 0
    assert over["refused"].keys() == {"link_queue_full"}
    assert seen.dropped.get("replay", 0) > 0
    assert seen.dropped.keys() <= {"replay", "link_queue_full", "inbox_full"}

    assert recovered["cpu_seconds"] < 1.0, recovered  # it takes as long where it has a core for itself
    assert None not in recovered["latency"], recovered
    assert statistics.median(recovered["latency"]) < 0.25, recovered


@pytest.mark.timeout(180)
async def test_what_a_relay_has_no_room_to_keep_is_dropped_by_it_and_counted(tmp_path):
    """Senders ask for delays of up to ten seconds, and the mix has 512 places."""
    seen = await overloaded(tmp_path, 8.0, "--longest-delay", "10", "--queue-limit", "512")
    check_it_stays_responsive_and_small(seen)
    assert seen.dropped.get("mix_queue_full", 0) > 512, seen.dropped
    assert seen.dropped.get("replay", 0) > 0
    assert None not in seen.recovered["latency"], seen.recovered
    assert statistics.median(seen.recovered["latency"]) < 0.25, seen.recovered
