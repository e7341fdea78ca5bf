"""Asks every peer again and again, each at its own pace, and tells who waits for news."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import monotonic

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.dashboard.network import Look, Network
from peerd.errors import NotFoundError, PeerdError
from peerd.pb import runs_pb2

EVERY = 2.0
"""Seconds between two looks at a peer."""


class Collector:
    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        patience: float,
        every: float = EVERY,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`patience`, in seconds, bounds each call to a peer."""
        self.network = Network(endpoint.name for endpoint in endpoints)
        self._endpoints = endpoints
        self._patience = patience
        self._every = every
        self._clock = clock
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        await together(self._sample(), *(self._follow(endpoint) for endpoint in self._endpoints))

    def hurry(self) -> None:
        """Look at once: something was changed."""
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def newer_than(self, version: int, seconds: float) -> dict[str, object]:
        """The state, once there is another than `version`, or after so many seconds as it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.network.version == version:
                    await self._changed.wait()
        return self.network.snapshot(self._clock())

    async def _follow(self, endpoint: Endpoint) -> None:
        while True:
            try:
                async with Client(endpoint, self._patience) as client:
                    await self._ask(client)
            except PeerdError as error:  # files of the endpoint that cannot be read
                await self._fail(endpoint.name, error)

    async def _ask(self, client: Client) -> None:
        name = client.endpoint.name
        while True:
            try:
                look = await _look(client)
            except PeerdError as error:
                await self._fail(name, error)
                continue
            self.network.heard(name, look, self._clock())
            self._tell()
            await self._pause()

    async def _fail(self, name: str, error: PeerdError) -> None:
        self.network.failed(name, str(error), self._clock())
        self._tell()
        await self._pause()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            self.network.sample(self._clock())
            self._tell()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every):
                await self._hurry.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _look(client: Client) -> Look:
    status = await client.status()
    config, measured = await asyncio.gather(client.mixing(), client.mixing_measured())
    return Look(status, config, measured, await _run(client) if status.run_id else None)


async def _run(client: Client) -> runs_pb2.RunStatus | None:
    try:
        return await client.run()
    except NotFoundError:
        return None
