from __future__ import annotations

import asyncio
import contextlib

import pytest

from peerd.host import ServiceManager, Shortage, Watch


class Manager(ServiceManager):
    """Counts signs of life, and says when there was one."""

    def __init__(self, watchdog_seconds: float) -> None:
        super().__init__("/nowhere", watchdog_seconds)
        self.statuses: list[str] = []
        self.enough = asyncio.Event()

    def alive(self, status: str = "") -> None:
        self.statuses.append(status)
        if len(self.statuses) == 4:
            self.enough.set()


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, _event: str, *, limit: str, detail: str) -> None:
        self.lines.append(f"{limit}: {detail}")


@pytest.mark.parametrize(("watchdog", "interval"), [(0.0, 5.0), (30.0, 5.0), (3.0, 1.5)])
async def test_at_least_twice_within_what_the_watchdog_allows(watchdog, interval):
    watch = Watch(Manager(watchdog), Log(), status=str, shortages=list)
    assert watch.interval == interval


async def test_signs_of_life_and_a_shortage_that_is_told_when_it_comes_up():
    manager, log = Manager(0.02), Log()
    courses = iter([[], [Shortage("files", "few")], [Shortage("files", "fewer")], []])
    watch = Watch(manager, log, status=lambda: "well", shortages=lambda: next(courses, []))
    task = asyncio.create_task(watch.run())
    await asyncio.wait_for(manager.enough.wait(), 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert set(manager.statuses) == {"well"}
    assert log.lines == ["files: few"]
