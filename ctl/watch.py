"""Following a run on several peers until it has ended everywhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from ctl.board import ENDED, Board
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, fan_out
from peerd.errors import PeerdError
from peerd.pb import runs_pb2

REDRAWS_PER_SECOND = 8
TRAFFIC_SECONDS = 1.0
"""Between two looks at a peer's traffic, for the live table."""


class View(Protocol):
    """Where progress goes."""

    def lines(self, lines: Sequence[str]) -> None:
        """Things that happened, for good."""

    def draw(self, made: Callable[[], RenderableType] | None) -> None:
        """How things stand now; `made` is called at each redraw, None clears."""


class Silent:
    """No progress at all: JSON output, and nobody looks at stderr."""

    def lines(self, lines: Sequence[str]) -> None:
        del lines

    def draw(self, made: Callable[[], RenderableType] | None) -> None:
        del made


class Lines(Silent):
    """What happened, line by line: pipes and files."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._console.print(line)


class _Redrawn:
    """Renders whatever stands now: rich's Live renders it anew at each refresh."""

    made: Callable[[], RenderableType] | None = None

    def __rich__(self) -> RenderableType:
        return "" if self.made is None else self.made()


class LiveView:
    """A table that is redrawn below the lines: terminals."""

    def __init__(self, live: Live, redrawn: _Redrawn) -> None:
        self._live = live
        self._redrawn = redrawn

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._live.console.print(line)

    def draw(self, made: Callable[[], RenderableType] | None) -> None:
        self._redrawn.made = made


@contextlib.contextmanager
def view(console: Console, silent: bool) -> Iterator[View]:
    """Live on a terminal; else lines, or nothing."""
    if not console.is_terminal:
        yield Silent() if silent else Lines(console)
        return
    redrawn = _Redrawn()
    with Live(redrawn, console=console, refresh_per_second=REDRAWS_PER_SECOND, transient=True) as live:
        yield LiveView(live, redrawn)


async def watch(
    endpoints: Sequence[Endpoint], patience: float, shown: View, traffic: bool = True
) -> Answers[runs_pb2.RunStatus]:
    """The last status of each peer's run, once all have ended. A lost peer is a failure of its own.

    `patience`, in seconds, is for the calls beside the streams.
    """
    board = Board(endpoint.name for endpoint in endpoints)
    shown.draw(board.table)

    async def follow(client: Client) -> runs_pb2.RunStatus:
        poller = asyncio.create_task(_poll(client, board)) if traffic else None
        try:
            return await _follow(client, board, shown)
        except PeerdError:
            board.lose(client.endpoint.name)
            raise
        finally:
            if poller is not None:
                poller.cancel()
                await asyncio.wait({poller})

    try:
        return await fan_out(endpoints, follow, patience)
    finally:
        shown.draw(None)


async def _follow(client: Client, board: Board, shown: View) -> runs_pb2.RunStatus:
    name = client.endpoint.name
    async for status in client.watch_run():
        shown.lines(board.update_run(name, status))
        if status.state in ENDED:
            return status
    last = await client.run()  # the stream ended between two changes
    shown.lines(board.update_run(name, last))
    return last


async def _poll(client: Client, board: Board) -> None:
    with contextlib.suppress(PeerdError):  # the stream says it better
        while True:
            board.update_node(client.endpoint.name, await client.status())
            await asyncio.sleep(TRAFFIC_SECONDS)
