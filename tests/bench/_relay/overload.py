"""A process that offers a relay a multiple of what it can carry. Tells its parent how far it is: JSON lines.

    python -m _relay.overload FOLDER --seconds S [--longest-delay S --queue-limit N]      (in tests/bench)

    {"event": "up", "pid": of the relay, "socket": its control socket}
    {"event": "overload", "capacity": packets a second of a relay that has a core for itself}
    {"event": "over", "offered", "refused": by our own link, by reason; "arrived",
     "rss_bytes": of the relay, "share": of a core that the relay got}
    {"event": "recovered", "seconds": until a packet that was sent after the end was through,
     "cpu_seconds": of the relay, meanwhile, "latency": seconds of some packets after that one, null if lost,
     "accepted": what our link took for the relay since its start}

The relay then stays, to be asked, until SIGTERM.

Every second packet is fresh, so that these alone are all that the relay can carry; the other is one that was
sent before, which costs the relay all but the way out: it is unwrapped before it is known for a replay.

Senders ask for 20 ms on average. What is too much then waits, and is dropped, at the neighbours, whose links
the relay does not read meanwhile. It can only be made to drop by itself what it has no room to keep: with
--longest-delay senders ask for anything up to that, and with --queue-limit there is little room.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from _relay.rig import Rig, relayed, rig
from peerd.sphinx import Deliver, unwrap

BODY_BYTES = 8192
FACTOR = 2.0
MEAN_DELAY_SECONDS = 0.02
QUEUE_LIMIT = 8192
CAPACITY_PACKETS = 4000
IN_FLIGHT = 128
TICK_SECONDS = 0.002
RSS_SECONDS = 0.25
PROBE_SECONDS = 0.05
PROBES = 20
LAST_PROBE_SECONDS = 1.0
THROUGH_SECONDS = 30.0


def tell(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Probes:
    """Packets that are known again at the sink."""

    def __init__(self, relay: Rig) -> None:
        self._relay = relay
        self._sent: list[float] = []
        self._latency: dict[int, float] = {}
        self._seen = asyncio.Event()
        relay.on_packet = self._look

    async def until_through(self) -> None:
        """Send one as soon as our link takes it, and more, in case that it is dropped, until one is there."""
        async with asyncio.timeout(THROUGH_SECONDS):
            while not self._latency:
                packet = self._next()
                while self._relay.send(packet) is not None:
                    await asyncio.sleep(TICK_SECONDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._seen.wait(), PROBE_SECONDS)

    async def latency(self, count: int) -> list[float | None]:
        first = len(self._sent)
        for _ in range(count):
            self._relay.send(self._next())
            await asyncio.sleep(PROBE_SECONDS)
        await asyncio.sleep(LAST_PROBE_SECONDS)
        return [self._latency.get(number) for number in range(first, first + count)]

    def _next(self) -> bytes:
        packet = self._relay.probe(b"%d" % len(self._sent))
        self._sent.append(time.perf_counter())
        return packet

    def _look(self, packet: bytes) -> None:
        opened = unwrap(self._relay.geometry, self._relay.sink_key, packet)
        if isinstance(opened, Deliver):
            number = int(opened.message)
            self._latency[number] = time.perf_counter() - self._sent[number]
            self._seen.set()


def exponential() -> float:
    return random.expovariate(1 / MEAN_DELAY_SECONDS)


async def overload(relay: Rig, headers: list[bytes], rate: float, seconds: float) -> dict[str, Any]:
    refused: Counter[str] = Counter()
    rss: list[int] = []
    offered = 0
    relay.arrived = 0
    relay.on_packet = lambda packet: None
    began, cpu = time.perf_counter(), relay.cpu_seconds()
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(rate * elapsed)
        for number in range(offered, due):
            fresh, again = divmod(number, 2)
            header = headers[fresh // 2 if again else fresh]
            reason = relay.send(relay.packet(header))
            if reason is not None:
                refused[reason.value] += 1
        offered = due
        if elapsed > RSS_SECONDS * len(rss):
            rss.append(relay.rss_bytes())
        await asyncio.sleep(TICK_SECONDS)
    return {
        "offered": offered,
        "refused": dict(refused),
        "arrived": relay.arrived,
        "rss_bytes": rss,
        "share": (relay.cpu_seconds() - cpu) / elapsed,
    }


async def recover(relay: Rig) -> dict[str, Any]:
    probes = Probes(relay)
    began, cpu = time.perf_counter(), relay.cpu_seconds()
    await probes.until_through()
    seconds, cpu_seconds = time.perf_counter() - began, relay.cpu_seconds() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "latency": await probes.latency(PROBES)}


def uniform(longest: float) -> Callable[[], float]:
    return lambda: random.uniform(0.0, longest)


async def run(folder: Path, seconds: float, delay: Callable[[], float], queue_limit: int) -> None:
    async with rig(folder, BODY_BYTES, queue_limit=queue_limit) as relay:
        tell("up", pid=relay.pid, socket=str(relay.control_socket))
        # By its CPU: what passes in a second says little where others use the machine too.
        capacity = 1e6 / (await relayed(relay, await relay.packets(CAPACITY_PACKETS), IN_FLIGHT)).cpu_us
        headers = await relay.headers(int(FACTOR * capacity * seconds / 2) + 1, delay)
        tell("overload", capacity=round(capacity))
        tell("over", **await overload(relay, headers, FACTOR * capacity, seconds))
        tell("recovered", **await recover(relay), accepted=relay.accepted)
        await asyncio.Event().wait()


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM ends it as its own end would: the relay goes too."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--longest-delay", type=float, help="seconds; else exponential, 20 ms on average")
    parser.add_argument("--queue-limit", type=int, default=QUEUE_LIMIT, help="of the relay's mix")
    options = parser.parse_args()
    delay = exponential if options.longest_delay is None else uniform(options.longest_delay)
    uvloop.run(until_told(run(options.folder, options.seconds, delay, options.queue_limit)))


if __name__ == "__main__":
    main()
