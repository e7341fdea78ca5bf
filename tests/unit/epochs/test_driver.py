"""The shell that rotates keys by the wall clock, on a real event loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from peerd.clock import wall
from peerd.epochs import EpochDriver
from peerd.epochs import driver as module

SECONDS, GRACE = 0.25, 0.1


class Shell:
    """A driver, and when its keys changed."""

    def __init__(self, rotation, clock) -> None:
        self.rotation = rotation
        self.epochs: list[tuple[int, tuple]] = []
        self._news = asyncio.Event()
        self.driver = EpochDriver(rotation, self._changed, clock)

    def _changed(self):
        self.epochs.append((self.rotation.epoch, self.rotation.descriptor.mix_keys))
        self._news.set()

    async def until(self, condition, seconds=20.0):
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def shell(life):
    made = []

    def start(clock=wall, seconds=SECONDS):
        one = Shell(life.start(clock(), seconds, GRACE), clock)
        made.append(one)
        return one

    yield start
    for one in made:
        one.driver.stop()


async def test_epochs_go_by_and_each_is_told_once(shell):
    one = shell()
    one.driver.start()
    await one.until(lambda: len(one.epochs) >= 4)
    numbers = [epoch for epoch, _ in one.epochs]
    assert all(later > earlier for earlier, later in pairwise(numbers))
    assert one.rotation.keyring.accepted[0] == one.rotation.epoch
    assert 0.0 <= one.driver.ends_in_seconds <= SECONDS


async def test_a_stopped_one_does_nothing_more(shell):
    one = shell()
    one.driver.start()
    one.driver.stop()
    before = len(one.epochs)
    await asyncio.sleep(2 * SECONDS)  # nothing is waited for: nothing must happen
    assert len(one.epochs) == before


async def test_a_clock_that_is_set_is_noticed(shell, monkeypatch):
    """The next rotation is an hour away by the old clock; nobody tells a daemon of the new one."""
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.05)
    offset = 1e9
    one = shell(lambda: offset, seconds=3600.0)
    one.driver.start()
    first = one.rotation.epoch
    offset += 1000 * 3600.0
    await one.until(lambda: one.epochs)
    assert one.rotation.epoch == first + 1000
    offset -= 2000 * 3600.0
    await one.until(lambda: len(one.epochs) == 2)
    assert one.rotation.epoch == first - 1000


async def test_a_clock_that_stands_still_costs_no_spinning(shell, monkeypatch):
    calls = 0
    one = shell(lambda: 1e9)
    update = one.rotation.update

    def counted(now):
        nonlocal calls
        calls += 1
        return update(now)

    monkeypatch.setattr(one.rotation, "update", counted)
    one.driver.start()
    await asyncio.sleep(0.5)
    assert calls <= 0.5 / (SECONDS - GRACE) * 2 + 2
