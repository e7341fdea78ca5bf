"""Running one coroutine so that Ctrl-C and SIGTERM end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in which SIGINT, SIGTERM and SIGHUP cancel `main` once, however often they come,
    so that its `finally` blocks end undisturbed. Raises KeyboardInterrupt for all three, also for one
    that comes while the loop is being made or taken apart: no half-made loop is left to complain."""
    interrupted = False
    running: tuple[asyncio.AbstractEventLoop, asyncio.Task[T]] | None = None

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        first_time, interrupted = not interrupted, True
        if first_time and running is not None:
            loop, task = running
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)  # wakes the loop, too

    async def guarded() -> T:
        nonlocal running
        task = asyncio.current_task()
        assert task is not None
        running = asyncio.get_running_loop(), task
        if interrupted:
            main.close()  # never begun
            raise asyncio.CancelledError
        return await main

    with _handling(stop):
        try:
            result = asyncio.run(guarded())
        except asyncio.CancelledError:
            if not interrupted:
                raise
    if interrupted:
        raise KeyboardInterrupt
    return result


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """The ending signals go to `handler` for as long as this lasts."""
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


async def together(*works: Coroutine[Any, Any, T]) -> list[T]:
    """All results, in order. The first failure cancels the rest and is raised itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise first(failures) from None
    return [task.result() for task in tasks]


def first(failures: BaseException) -> BaseException:
    """Of a group of groups: the failure that came first, itself."""
    while isinstance(failures, BaseExceptionGroup):
        failures = failures.exceptions[0]
    return failures


def uninterrupted() -> contextlib.AbstractContextManager[None]:
    """Ignore the same signals for the length of a short, bounded piece of blocking work."""
    return _handling(signal.SIG_IGN)
