"""Running one coroutine so that Ctrl-C and SIGTERM end it in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in which SIGINT, SIGTERM and SIGHUP cancel `main` once, however often they come,
    so that its `finally` blocks end undisturbed. Raises KeyboardInterrupt for all three."""
    interrupted = False

    async def guarded() -> T:
        nonlocal interrupted
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()

        def stop() -> None:
            nonlocal interrupted
            if not interrupted and task is not None:
                interrupted = True
                task.cancel()

        for number in ENDING:
            loop.add_signal_handler(number, stop)
        return await main

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the same signals for the length of a short, bounded piece of blocking work."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
