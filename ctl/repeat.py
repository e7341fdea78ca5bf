"""The same question again and again, for --watch: redrawn in a terminal, one after the other elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.text import Text

from ctl import render
from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answer, Answers, Failure, Standing
from ctl.text import Duration, duration, one_line
from peerd.clock import next_tick, wall
from peerd.errors import InvalidInputError, PeerdError, UnavailableError

T = TypeVar("T")
INTERVAL_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""A peer that is lost is asked again within this, however long the interval is."""
LATE_SECONDS = 1.0
"""So long the peers that have told wait for the others: their clocks differ, and the ways to them."""
INTERVAL = Duration(least=0.2, most=86_400.0)
"""A click type."""
REDRAWS_PER_SECOND = 2
"""In between, for a terminal whose size changes."""


async def ask(
    endpoints: Sequence[Endpoint],
    call: Callable[[Client], Awaitable[T]],
    patience: float,
    interval: float,
    tell: Callable[[Answers[T]], None],
) -> None:
    """For ever; a peer that does not answer may do so the next time. An answer that takes longer than
    `interval` puts the next question off."""
    async with Standing(endpoints, patience) as standing:
        while True:
            asked = time.monotonic()
            tell(await standing.ask(call))
            await asyncio.sleep(max(0.0, asked + interval - time.monotonic()))


async def follow(
    endpoints: Sequence[Endpoint],
    stream: Callable[[Client], AsyncIterator[T]],
    patience: float,
    interval: float,
    tell: Callable[[Answers[T]], None],
) -> None:
    """As `ask`, of what peers tell by themselves at each multiple of `interval` on their clocks, which costs
    them less. One that is silent for another interval, and two seconds at least, does not answer; before its
    first answer it has `patience`. What a peer refuses as wrong is raised."""
    latest = _Latest[T](endpoints, min(LATE_SECONDS, interval / 2))

    async def listen(endpoint: Endpoint) -> None:
        tick = 0
        while True:
            try:
                async with Client(endpoint, patience) as client:
                    async for value in _in_time(stream(client), endpoint, patience, interval):
                        latest.put(Answer(endpoint.name, value))
            except InvalidInputError:
                raise
            except PeerdError as error:
                latest.put(Failure(endpoint.name, error))
            now = wall()  # again when the others tell, too
            tick = next_tick(tick, now, interval)
            await asyncio.sleep(min(tick * interval - now, AGAIN_SECONDS))

    async def report() -> None:
        while True:
            tell(await latest.next())

    await together(*(listen(endpoint) for endpoint in endpoints), report())


async def _in_time(
    stream: AsyncIterator[T], endpoint: Endpoint, patience: float, interval: float
) -> AsyncIterator[T]:
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), patience)
            patience = interval + max(interval, 2 * LATE_SECONDS)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise UnavailableError(f"{endpoint.name}: no answer in time from {endpoint.address}") from None


class _Latest(Generic[T]):
    """What each peer has told last."""

    def __init__(self, endpoints: Sequence[Endpoint], late: float) -> None:
        self._names = [endpoint.name for endpoint in endpoints]
        self._late = late
        self._known: dict[str, Answer[T] | Failure] = {}
        self._fresh: set[str] = set()
        self._told = asyncio.Event()

    def put(self, told: Answer[T] | Failure) -> None:
        self._known[told.name] = told
        self._fresh.add(told.name)
        self._told.set()

    async def next(self) -> Answers[T]:
        """When all have told something new, or one has and the others are late."""
        await self._told.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._late):
                while len(self._fresh) < len(self._names):
                    self._told.clear()
                    await self._told.wait()
        self._fresh.clear()
        self._told.clear()
        known = [self._known[name] for name in self._names if name in self._known]
        return Answers(
            good=tuple(one for one in known if isinstance(one, Answer)),
            bad=tuple(one for one in known if isinstance(one, Failure)),
        )


class Frames:
    """Tables one below the other, each under the time."""

    def __init__(self, interval: float) -> None:
        self._interval = interval

    def draw(self, answers: Answers[T], look: Callable[[Sequence[Any]], RenderableType]) -> None:
        render.show(frame(answers, look, self._title()), "")

    def _title(self) -> str:
        return f"{time.strftime('%H:%M:%S')}  every {duration(self._interval)}"


class LiveFrames(Frames):
    """One in the place of the other."""

    def __init__(self, interval: float, live: Live) -> None:
        super().__init__(interval)
        self._live = live

    def draw(self, answers: Answers[T], look: Callable[[Sequence[Any]], RenderableType]) -> None:
        title = f"{self._title()}, Ctrl-C ends"
        self._live.update(_Anew(lambda: frame(answers, look, title)), refresh=True)


class _Anew:
    """Made at each redraw: a table chooses its columns by the width of the terminal."""

    def __init__(self, made: Callable[[], RenderableType]) -> None:
        self._made = made

    def __rich__(self) -> RenderableType:
        return self._made()


def frame(answers: Answers[T], look: Callable[[Sequence[Any]], RenderableType], title: str) -> RenderableType:
    """What has answered, and below it what has not."""
    parts: list[RenderableType] = [Text(title, style="dim")]
    parts += [look(answers.good)] if answers.good else []
    parts += [Text(one_line(str(failure.error)), style="red") for failure in answers.bad]
    return Stack(*parts)


@contextlib.contextmanager
def frames(interval: float) -> Iterator[Frames]:
    """On the other screen of a terminal, which shows what was there before when this ends."""
    console: Console = render.progress_console(stderr=False)
    if not console.is_terminal:
        yield Frames(interval)
        return
    with Live(console=console, screen=True, refresh_per_second=REDRAWS_PER_SECOND) as live:
        yield LiveFrames(interval, live)
