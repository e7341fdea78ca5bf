"""The shell that rotates keys by the wall clock and tells neighbours of them, on a real event loop."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from peerd.clock import monotonic, wall
from peerd.epochs import EpochDriver
from peerd.epochs import driver as module
from peerd.membership import Announcer, decode_descriptor
from peerd.types import PeerId

A, B = PeerId(b"a" * 16), PeerId(b"b" * 16)
SECONDS, GRACE = 0.25, 0.1
INTERVAL = 0.05


class Shell:
    """A driver, what it told, and when its keys changed."""

    def __init__(self, rotation, clock) -> None:
        self.rotation = rotation
        self.neighbours: dict[PeerId, None] = {}
        self.at_once: list[bool] = []
        self.told: list[tuple[float, PeerId, bytes]] = []
        self.epochs: list[tuple[int, tuple]] = []
        self._news = asyncio.Event()
        self.driver = EpochDriver(
            rotation,
            Announcer(INTERVAL, random.Random(1)),
            neighbours=self.neighbours.keys,
            tell=self._tell,
            on_change=self._changed,
            clock=clock,
        )

    def _tell(self, peer, data, at_once):
        self.told.append((monotonic(), peer, data))
        self.at_once.append(at_once)
        self._news.set()

    def _changed(self):
        self.epochs.append((self.rotation.epoch, self.rotation.descriptor.mix_keys))
        self._news.set()

    def up(self, peer):
        self.neighbours[peer] = None
        self.driver.neighbour_up(peer)

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


async def test_a_new_neighbour_is_told_at_once(shell):
    one = shell()
    one.driver.start()
    assert one.told == []
    one.up(A)
    ((_, peer, data),) = one.told
    assert (peer, data) == (A, one.rotation.descriptor.signed)
    assert decode_descriptor(data).mix_keys == one.rotation.descriptor.mix_keys
    assert one.at_once == [True]  # and only then: see the next test


async def test_neighbours_are_told_again_and_of_new_keys(shell):
    one = shell()
    one.driver.start()
    one.up(A)
    one.up(B)
    await one.until(lambda: len(one.epochs) >= 2 and len(one.told) >= 20)
    for peer in (A, B):
        said = [decode_descriptor(data) for _, to, data in one.told if to == peer]
        assert len(said) >= 8
        assert all(later.version >= earlier.version for earlier, later in pairwise(said))
        assert len({descriptor.version for descriptor in said}) >= 2
    assert not any(one.at_once[2:])  # told again among the packets


async def test_who_is_gone_is_told_nothing_more(shell):
    one = shell()
    one.driver.start()
    one.up(A)
    one.up(B)
    await one.until(lambda: len(one.told) >= 6)
    del one.neighbours[A]
    one.told.clear()
    await one.until(lambda: len(one.told) >= 6)
    assert {peer for _, peer, _ in one.told} == {B}


async def test_a_stopped_one_does_nothing_more(shell):
    one = shell()
    one.driver.start()
    one.up(A)
    one.driver.stop()
    before = (len(one.told), len(one.epochs))
    await asyncio.sleep(2 * SECONDS)  # nothing is waited for: nothing must happen
    assert (len(one.told), len(one.epochs)) == before


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
