from __future__ import annotations

import asyncio
import math

import pytest

from peerd.clock import next_tick, wall
from peerd.control import watching
from peerd.control.watching import Watching


async def test_all_watchers_share_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 of them cost one look for each tick."""
    interval = 0.05
    monkeypatch.setattr(watching, "LEAST_SECONDS", interval)
    monkeypatch.setattr(watching, "SHARED_SECONDS", 0.0)
    looks = 0

    def ticks() -> float:
        return float(next_tick(0, wall(), interval))

    def look() -> int:
        nonlocal looks
        looks += 1
        return looks

    shared = Watching(look, ticks)

    async def watch() -> list[int]:
        seen = []
        async for value in shared.every(interval):
            seen.append(value)
            if len(seen) == 5:
                return seen
        raise AssertionError

    began = ticks()
    everybody = await asyncio.gather(*(watch() for _ in range(200)))
    assert looks <= ticks() - began + 1
    assert all(seen == sorted(seen) for seen in everybody)


async def test_a_look_is_new_when_the_last_one_is_old() -> None:
    now = 0.0
    looks = iter(range(10))
    shared = Watching(lambda: next(looks), lambda: now)
    assert (shared.now(), shared.now()) == (0, 0)
    now = watching.SHARED_SECONDS
    assert shared.now() == 0
    now = math.nextafter(now, 1.0)
    assert shared.now() == 1
