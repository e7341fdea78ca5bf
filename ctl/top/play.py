"""Asking the peers, each at its own pace, and showing what they say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence

from ctl.aio import first
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.top.controls import Controls
from ctl.top.marks import Marks
from ctl.top.model import Model
from ctl.top.sample import Sample, take
from ctl.top.screen import Drawn, draw
from ctl.top.terminal import Terminal
from peerd.errors import PeerdError

Taken = Callable[[str, Sample], None]


@contextlib.asynccontextmanager
async def sampling(
    endpoints: Sequence[Endpoint], patience: float, interval: float, taken: Taken
) -> AsyncIterator[None]:
    """In the background: a sample of each peer every `interval` seconds. One that is slow or gone keeps
    nobody else waiting; `patience`, in seconds, is for each of its answers."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_sample(one, patience, interval, taken)) for one in endpoints]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as failures:
        raise first(failures) from None


async def _sample(endpoint: Endpoint, patience: float, interval: float, taken: Taken) -> None:
    client: Client | None = None
    try:
        while True:
            at = time.monotonic()
            try:
                client = client or Client(endpoint, patience)
                taken(endpoint.name, await take(client, at))
            except PeerdError as error:
                taken(endpoint.name, Sample(at, error=str(error)))
            await asyncio.sleep(max(0.0, at + interval - time.monotonic()))
    finally:
        if client is not None:
            await client.close()


async def interactive(
    endpoints: Sequence[Endpoint], patience: float, interval: float, terminal: Terminal
) -> None:
    """Until somebody quits."""
    model, controls, marks = Model(e.name for e in endpoints), Controls(), Marks(terminal.plain)
    changed = asyncio.Event()
    drawn: Drawn | None = None

    def taken(name: str, sample: Sample) -> None:
        if not controls.paused:
            model.take(name, sample)
            changed.set()

    def press(key: str) -> None:
        controls.press(key, drawn.shown if drawn else (), drawn.titles if drawn else ())
        changed.set()

    async with sampling(endpoints, patience, interval, taken):
        with terminal.listening(press, changed.set):
            while not controls.done:
                clock = time.strftime("%H:%M:%S")
                drawn = draw(model, controls, terminal.size, clock, interval, marks)
                terminal.draw(drawn.lines)
                await changed.wait()
                await asyncio.sleep(0)  # peers that answer at one time are drawn at one time
                changed.clear()


async def reports(
    endpoints: Sequence[Endpoint],
    patience: float,
    interval: float,
    once: bool,
    tell: Callable[[Model], None],
) -> None:
    """What stands after each interval; `once`: after the first two samples of each peer, and no more."""
    model, complete = Model(e.name for e in endpoints), asyncio.Event()

    def taken(name: str, sample: Sample) -> None:
        model.take(name, sample)
        if model.complete():
            complete.set()

    async with sampling(endpoints, patience, interval, taken):
        await complete.wait()
        tell(model)
        while not once:
            await asyncio.sleep(interval)
            tell(model)
