"""When the peers of a testbed see each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from peerd.errors import UnavailableError

POLL_SECONDS = 0.1

Progress = Callable[[str, bool], None]
"""Called with what has been reached, and whether that completes the step."""


async def connected(endpoints: Sequence[Endpoint], patience: float, progress: Progress) -> None:
    """Until each of these peers sees all others of them alive; what else it sees does not matter.
    UnavailableError after `patience` seconds."""
    names = {endpoint.name for endpoint in endpoints}
    missing = {name: names - {name} for name in sorted(names)}

    async def wait(endpoint: Endpoint) -> None:
        async with Client(endpoint, patience) as client:
            while True:
                if await _sees(client, names - {endpoint.name}, missing):
                    break
                await asyncio.sleep(POLL_SECONDS)
        done = sum(not lacking for lacking in missing.values())
        progress(f"{done} of {len(names)} peers see all others", done == len(names))

    try:
        async with asyncio.timeout(patience):
            await together(*(wait(endpoint) for endpoint in endpoints))
    except TimeoutError:
        poor = ", ".join(f"{name} lacks {len(lacking)}" for name, lacking in missing.items() if lacking)
        raise UnavailableError(
            f"not all {len(names) - 1} others alive after {patience:.0f} s, as seen by: {poor}"
        ) from None


async def _sees(client: Client, others: set[str], missing: dict[str, set[str]]) -> bool:
    """Counts first: they cost a peer of a large network less than the list."""
    alive = (await client.status()).peers_alive
    if alive < len(others):
        return False
    seen = {peer.name for peer in await client.peers() if peer.state == "alive"}
    missing[client.endpoint.name] = others - seen
    return others <= seen
