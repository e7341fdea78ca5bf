"""What is asked of each peer, one file of the bundle for each answer."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctl import render
from ctl.aio import together
from ctl.client import Client
from ctl.configtext import status_data
from ctl.contexts import Endpoint
from ctl.support.redaction import metrics
from ctl.testbed.processes import tail
from ctl.text import printable
from peerd.config import parse_address
from peerd.errors import NotFoundError, PeerdError, UnavailableError

LOG_LINES = 1000
MAX_SCRAPE_BYTES = 16 << 20
SAMPLES = frozenset({"rtt_samples"})
"""Times of single messages: nobody needs them to help."""


@dataclass(frozen=True, slots=True)
class Part:
    file: str
    what: str
    ask: Callable[[Client], Awaitable[Any]]
    """Text, or plain data."""


@dataclass(slots=True)
class Collected:
    """Of one peer; files by name, and why others are missing."""

    name: str
    files: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failure: PeerdError | None = None
    """Why it does not answer at all."""


async def _status(client: Client) -> Any:
    return render.plain(await client.status(), without=SAMPLES)


async def _peers(client: Client) -> Any:
    return [render.plain(peer) for peer in await client.peers()]


async def _mixing(client: Client) -> Any:
    config, measured = await together(client.mixing(), client.mixing_measured())
    return {"config": render.plain(config), "measured": render.plain(measured)}


async def _run(client: Client) -> Any:
    return render.plain(await client.run())


async def _checkpoints(client: Client) -> Any:
    return [render.plain(one) for one in await client.checkpoints()]


async def _events(client: Client) -> Any:
    return [render.plain(event) async for event in client.events(follow=False, last=0)]


async def _config(client: Client) -> Any:
    """By its keys: they say what a value is, and so whether it may be seen."""
    status = await client.config()
    return {"file": status.file, "settings": status_data(status)}


async def _log(client: Client) -> str:
    """As the daemon has redacted it."""
    batches = [batch async for batch in client.logs(follow=False, last=LOG_LINES, level="debug")]
    lines = (
        f"{line.at:.3f} {line.level} {line.event} {line.fields}" for batch in batches for line in batch.lines
    )
    return "".join(f"{printable(line)}\n" for line in lines)


async def _metrics(client: Client) -> str:
    """Only of a peer on this host: its endpoint is bound to it."""
    status = await client.status()
    if not client.endpoint.local:
        raise NotFoundError("the metrics of a peer on another host are not reached from here")
    if not status.metrics_address:
        raise NotFoundError("its metrics endpoint is off")
    return metrics(await asyncio.to_thread(_scrape, status.metrics_address))


def _scrape(address: str) -> str:
    host, port = parse_address(address)
    try:
        connection = http.client.HTTPConnection(host, port, timeout=5.0)
        connection.request("GET", "/metrics")
        return connection.getresponse().read(MAX_SCRAPE_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"its metrics endpoint does not answer: {error}") from None


PARTS = (
    Part("status.json", "the daemon's status", _status),
    Part("peers.json", "the other peers and the links to them", _peers),
    Part("mixing.json", "mixing: the configuration in force, and what it does", _mixing),
    Part("run.json", "the run that goes on or was last", _run),
    Part("checkpoints.json", "which models are kept (not the models)", _checkpoints),
    Part("events.json", "all events that the daemon remembers", _events),
    Part("config-in-force.json", "the configuration in force, and where each value is from", _config),
    Part("daemon-log.txt", "the latest lines that the daemon remembers", _log),
    Part("metrics.txt", "a scrape of its metrics", _metrics),
)


async def collect(endpoints: Sequence[Endpoint], patience: float) -> list[Collected]:
    """All parts of all peers; what fails is noted. `patience`, in seconds, is for each call."""
    return await together(*(_collect(endpoint, patience) for endpoint in endpoints))


async def _collect(endpoint: Endpoint, patience: float) -> Collected:
    found = Collected(endpoint.name)
    try:
        async with Client(endpoint, patience) as client:
            await client.status()  # without it nothing else will come
            for part in PARTS:
                try:
                    found.files[part.file] = await part.ask(client)
                except PeerdError as error:
                    found.missing[part.file] = str(error)
    except PeerdError as error:
        found.failure = error
        found.missing |= {part.file: str(error) for part in PARTS if part.file not in found.files}
    return found


def log_of(path: Path, lines: int = LOG_LINES) -> str:
    """The end of a log file. NotFoundError."""
    if not path.is_file():
        raise NotFoundError(f"{path}: no such log")
    return "".join(f"{printable(line)}\n" for line in tail(path, lines))
