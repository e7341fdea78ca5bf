"""What 200 operators with `peerctl status --watch` cost the peer that they look at. One JSON object.

One real daemon; each watcher has a connection of its own, by TCP with TLS as an operator, or by the Unix
socket, and is told at the product's own interval. Their CPU time is not the peer's.

    share       of one core that the daemon uses while they watch, above what it uses without them
    answer_ms   CPU milliseconds of the daemon for one answer to who asks once
    floor_ms    the same for gRPC's own health service: what a call costs that tells nothing

    python tests/bench/watchers.py                 a minute
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from ctl import repeat
from ctl.client import Client
from ctl.contexts import Endpoint, parse_endpoint
from ctl.fanout import Answers
from peerd.config import NetworkConfig
from peerd.errors import UnavailableError
from peerd.membership import Authority

PATIENCE = 20.0
ANSWERS = 2_000


@contextlib.asynccontextmanager
async def daemon(folder: Path) -> AsyncIterator[tuple[psutil.Process, dict[str, Endpoint]]]:
    """A peer alone in its network, and the two ways to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    state = folder / "alice"
    state.mkdir(mode=0o700)
    authority = Authority.create(folder / "network", NetworkConfig(name="watched"))
    authority.enroll_local("alice", "127.0.0.1:1", state)  # nobody else is there to dial it
    operator = authority.operator("eye", "viewer", folder / "eye")
    (folder / "peerd.toml").write_text(f'[link]\nlisten = "127.0.0.1:0"\n[control]\nlisten = "{listen}"\n')
    command = [sys.executable, "-m", "peerd", "run", "--state-dir", state, "--config", folder / "peerd.toml",
               "--bundle", folder / "network" / "bundles" / "alice.bundle"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stderr=log)
        try:
            ways = {
                "unix": parse_endpoint(f"unix:{state / 'control.sock'}", None),
                "tcp": parse_endpoint(f"alice@{listen}", operator),
            }
            await ready(ways["tcp"])
            yield psutil.Process(process.pid), ways
        finally:
            process.terminate()
            await process.wait()


async def ready(endpoint: Endpoint) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(UnavailableError):
            async with Client(endpoint, 1.0) as client:
                await client.status()
                return
        if time.monotonic() > deadline:
            raise SystemExit("the daemon does not come up")
        await asyncio.sleep(0.1)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def during(process: psutil.Process, seconds: float) -> float:
    """CPU seconds of the daemon per second."""
    began, before = time.monotonic(), cpu_seconds(process)
    await asyncio.sleep(seconds)
    return (cpu_seconds(process) - before) / (time.monotonic() - began)


async def watch(endpoint: Endpoint, interval: float) -> None:
    """As `peerctl status --watch` does."""
    await asyncio.sleep(random.uniform(0, interval))  # nobody starts them all at once

    def tell(answers: Answers[Any]) -> None:
        for failure in answers.bad:
            raise failure.error

    await repeat.follow([endpoint], lambda client: client.watch_status(interval), PATIENCE, interval, tell)


async def share(
    process: psutil.Process, endpoint: Endpoint, watchers: int, interval: float, seconds: float
) -> float:
    idle = await during(process, seconds / 2)
    tasks = [asyncio.create_task(watch(endpoint, interval)) for _ in range(watchers)]
    await asyncio.sleep(interval + 2.0)  # handshakes are over
    busy = await during(process, seconds)
    ended = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        await task  # a watcher that failed makes the figure worthless
    return busy - idle


async def each(process: psutil.Process, call: Callable[[], Awaitable[Any]]) -> float:
    """CPU milliseconds of the daemon for one, one after the other."""
    before = cpu_seconds(process)
    for _ in range(ANSWERS):
        await call()
    return (cpu_seconds(process) - before) / ANSWERS * 1e3


async def measure(watchers: int, interval: float, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"watchers": watchers, "interval_seconds": interval}
    with tempfile.TemporaryDirectory() as folder:
        async with daemon(Path(folder)) as (process, ways):
            for name, endpoint in ways.items():
                async with Client(endpoint, PATIENCE) as client:
                    floor = await each(process, client.serving)
                    answer = await each(process, client.status)
                found[name] = {
                    "share": round(await share(process, endpoint, watchers, interval, seconds), 4),
                    "answer_ms": round(answer, 3),
                    "floor_ms": round(floor, 3),
                }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--interval", type=float, default=repeat.INTERVAL_SECONDS)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.watchers, options.interval, options.seconds))))


if __name__ == "__main__":
    main()
