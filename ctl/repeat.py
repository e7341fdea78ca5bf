"""The same question again and again, for --watch: redrawn in a terminal, one after the other elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.console import Group as Stack
from rich.live import Live
from rich.text import Text

from ctl import render
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, Standing
from ctl.text import Duration, duration, one_line

T = TypeVar("T")
INTERVAL_SECONDS = 5.0
"""An answer takes some 1 ms of the peer's CPU: 200 who watch take 4 % of a core."""
INTERVAL = Duration(least=0.2)
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
