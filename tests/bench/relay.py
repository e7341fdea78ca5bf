"""What a whole relay costs: CPU and packets a second of one real `peerd` between two links. One JSON object.

    floor_us             two bare X25519 multiplications: CPU, measured in this process beside everything else
    hop_cpu_us           CPU of the relay's process for one packet, all of it: TLS in, cells, unwrap, replay
                         filter, replay log, mix, TLS out; by body size, without a delay
    hop_cpu_us_20ms      the same where senders ask for delays of 20 ms on average
    packets_per_second   relayed, saturated, without a delay
    packets_per_second_20ms   the same with such delays
    ratio_to_floor       hop_cpu_us / floor_us
    breakdown_us         what the parts of a hop of 8 KiB cost by themselves, and the rest

Medians of some repetitions. A closed loop: so many packets are on their way that the relay is never idle,
and so few that none is dropped. With --soak instead: a million packets of 1 KiB, and the relay's memory, how
it grows over the last half, and how its replay filter does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from _relay.parts import breakdown, floor, microseconds
from _relay.rig import Run, relayed, rig

from peerd.config import RelayConfig
from peerd.sphinx import ReplayFilter

SIZES = (1024, 8192, 16384, 32768)
BREAKDOWN_SIZE = 8192
PACKETS = 3000
MEAN_DELAY_SECONDS = 0.02
IN_FLIGHT = 128
IN_FLIGHT_DELAYED = 768
"""Several times what the mix holds, so that others always wait."""
REPEATS = 3
FLOOR_EVERY_SECONDS = 0.01
SOAK_BODY_BYTES = 1024
SOAK_PACKETS = 1_000_000
SOAK_CHUNK = 10_000


async def measure(sizes: list[int], count: int, folder: Path) -> dict[str, Any]:
    runs: dict[tuple[int, bool], list[Run]] = {(size, late): [] for size in sizes for late in (False, True)}
    floors: list[float] = []
    sample = floor()

    async def keep_sampling() -> None:
        while True:
            floors.append(microseconds(sample))
            await asyncio.sleep(FLOOR_EVERY_SECONDS)

    async with contextlib.AsyncExitStack() as stack:
        relays = {s: await stack.enter_async_context(rig(folder / str(s), s)) for s in sizes}
        sampling = asyncio.create_task(keep_sampling())
        for _ in range(REPEATS):
            for (size, late), results in runs.items():
                in_flight = IN_FLIGHT_DELAYED if late else IN_FLIGHT
                delay = exponential if late else no_delay
                packets = await relays[size].packets(count + 2 * in_flight, delay)
                results.append(await relayed(relays[size], packets, in_flight))
        sampling.cancel()
    floor_us = statistics.median(floors)
    cpu = {key: statistics.median(run.cpu_us for run in results) for key, results in runs.items()}
    speed = {
        key: statistics.median(run.packets_per_second for run in results) for key, results in runs.items()
    }
    return {
        "floor_us": round(floor_us, 1),
        "hop_cpu_us": {str(size): round(cpu[size, False], 1) for size in sizes},
        "hop_cpu_us_20ms": {str(size): round(cpu[size, True], 1) for size in sizes},
        "packets_per_second": {str(size): round(speed[size, False]) for size in sizes},
        "packets_per_second_20ms": {str(size): round(speed[size, True]) for size in sizes},
        "ratio_to_floor": {str(size): round(cpu[size, False] / floor_us, 2) for size in sizes},
    }


def no_delay() -> float:
    return 0.0


def exponential() -> float:
    return random.expovariate(1 / MEAN_DELAY_SECONDS)


def split(hop_us: float) -> dict[str, float]:
    parts = breakdown(BREAKDOWN_SIZE)
    parts["rest"] = hop_us - sum(parts.values())
    return {name: round(spent, 1) for name, spent in parts.items()}


async def soak(count: int, folder: Path) -> dict[str, Any]:
    rss: list[int] = []
    async with rig(folder / "soak", SOAK_BODY_BYTES) as relay:
        for _ in range(count // SOAK_CHUNK):
            await relayed(relay, await relay.packets(SOAK_CHUNK), IN_FLIGHT)
            rss.append(relay.rss_bytes())
    half = len(rss) // 2
    return {
        "packets": len(rss) * SOAK_CHUNK,
        "rss_bytes": rss,
        "rss_growth_bytes": max(rss[half:]) - rss[half - 1],
        "replay_filter_growth_bytes": filter_bytes(len(rss) * SOAK_CHUNK) - filter_bytes(half * SOAK_CHUNK),
    }


def filter_bytes(tags: int) -> int:
    """What a replay filter holds after so many tags."""
    replay = ReplayFilter(RelayConfig().replay_capacity)
    replay.load(os.urandom(16) for _ in range(tags))
    return replay.memory_bytes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packets", type=int, default=PACKETS, help="measured at a time")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of a body")
    parser.add_argument("--soak", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.soak:
            report = uvloop.run(soak(SOAK_PACKETS, Path(folder)))
        else:
            report = uvloop.run(measure(list(options.sizes), options.packets, Path(folder)))
            hop_us = report["hop_cpu_us"].get(str(BREAKDOWN_SIZE))
            if hop_us is not None:
                report["breakdown_us"] = split(hop_us)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
