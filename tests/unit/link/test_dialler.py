"""What is dialled when: the connections themselves are stand-ins, as are names."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter

import pytest

from peerd.config import LinkConfig
from peerd.link import dialler as module
from peerd.link.connection import Common
from peerd.link.dialler import Dialler, Dialling
from peerd.types import DropReason

PEER = bytes(range(16))
CONFIG = LinkConfig(backoff_min_seconds=0.001, backoff_max_seconds=0.002, connect_timeout_seconds=60.0)


class Silent:
    def debug(self, event, **fields):
        pass


class World:
    """Names, who answers where, and what was tried."""

    def __init__(self):
        self.names = {}
        self.answers = {}
        """What happens at (ip, port): an exception, "up", or nothing at all."""
        self.dials = []
        self.links = []
        self.over = []
        self.forbidden = set()
        self.told_forbidden = []
        self.drops = Counter()
        self.changed = asyncio.Event()

    async def resolve(self, host, port):
        found = self.names.get(host, [host])
        if isinstance(found, Exception):
            raise found
        return list(found)

    def permits(self, ip):
        return ip not in self.forbidden

    async def create_connection(self, make, host, port, *, ssl, server_hostname):
        self.dials.append((host, port))
        self.changed.set()
        answer = self.answers.get((host, port), ConnectionRefusedError())
        if isinstance(answer, Exception):
            raise answer
        link = make()
        self.links.append(link)
        if answer != "up":
            await asyncio.Event().wait()
        link.was_up = True
        return None, link

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def lose(self, number=-1):
        self.links[number].connection_lost(None)


@pytest.fixture
async def world(monkeypatch):
    world = World()
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", world.create_connection)
    monkeypatch.setattr(module, "_resolve", world.resolve)
    return world


@pytest.fixture
async def dial(world):
    tasks = []

    def begin(*addresses):
        count = lambda reason, detail="": world.drops.update([reason])  # noqa: E731

        def over(peer, link):
            world.over.append((peer, link))
            world.changed.set()

        shared = Dialling(
            common=Common(100, CONFIG, lambda: 100.0, count, count),
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            policy=world,
            on_up=lambda link: None,
            on_gossip=lambda *_: None,
            on_over=over,
            on_forbidden=lambda peer, address: world.told_forbidden.append((peer, address)),
            rng=random.Random(1),
            log=Silent(),
        )
        made = Dialler(PEER, addresses, shared)
        tasks.append(asyncio.create_task(made.run()))
        made.task = tasks[-1]
        return made

    yield begin
    for task in tasks:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def test_addresses_and_what_names_mean_take_turns(world, dial):
    world.names["many.example"] = ["192.0.2.1", "192.0.2.66", "2001:db8::1"]
    world.forbidden = {"192.0.2.66"}
    dial("many.example:1", "198.51.100.1:2")
    await world.until(lambda: len(world.dials) == 6)
    assert world.dials[:6] == [
        ("192.0.2.1", 1),
        ("198.51.100.1", 2),
        ("2001:db8::1", 1),
        ("198.51.100.1", 2),
        ("192.0.2.1", 1),
        ("198.51.100.1", 2),
    ]
    assert world.told_forbidden == []


async def test_a_link_that_was_good_is_dialled_again_where_it_was(world, dial):
    world.answers["192.0.2.2", 2] = "up"
    dial("192.0.2.1:1", "192.0.2.2:2")
    for number in range(1, 4):
        await world.until(lambda n=number: len(world.links) == n)
        world.lose()
    assert world.dials[:4] == [("192.0.2.1", 1)] + [("192.0.2.2", 2)] * 3


async def test_a_zone_is_dialled_and_is_not_what_the_policy_judges(world, dial):
    world.names["fe80::1%eth0"] = ["fe80::1%eth0"]
    dial("[fe80::1%eth0]:1")
    await world.until(lambda: world.dials == [("fe80::1%eth0", 1)])
    world.forbidden = {"fe80::1"}
    world.dials.clear()
    await asyncio.sleep(0)
    made = dial("[fe80::1%eth0]:2")
    while (PEER, "[fe80::1%eth0]:2") not in world.told_forbidden:
        await asyncio.sleep(0)
    assert ("fe80::1%eth0", 2) not in world.dials
    assert made.state in ("connecting", "down")


@pytest.mark.parametrize(
    "error",
    [OSError("no such name"), UnicodeError("label too long"), ValueError("null"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_name_that_cannot_be_resolved_is_a_failure_like_others(world, dial, error):
    world.names["bad.example"] = error
    dial("bad.example:1", "192.0.2.1:1")
    await world.until(lambda: len(world.dials) == 2)
    assert set(world.dials) == {("192.0.2.1", 1)}
    assert not world.drops


async def test_a_handshake_that_fails_is_counted(world, dial):
    world.answers["192.0.2.1", 1] = ssl.SSLError("bad")
    dial("192.0.2.1:1")
    await world.until(lambda: len(world.dials) == 3)
    assert world.drops[DropReason.HANDSHAKE_FAILED] >= 2


async def test_to_move_does_not_shorten_the_wait_where_nothing_was_reached(world, dial):
    """Else a peer that signs one descriptor after the other makes all others dial whom it likes."""
    made = dial("192.0.2.1:1")
    made._backoff.wait = lambda: 3600.0
    await world.until(lambda: len(world.dials) == 1)
    await asyncio.sleep(0.002)  # longer than the shortest wait
    for number in range(100):
        made.move((f"192.0.2.{number}:1",))
        await asyncio.sleep(0)
    assert len(world.dials) == 1
    made.wake()
    await world.until(lambda: len(world.dials) == 2)
    assert world.dials[1] == ("192.0.2.99", 1)
    await asyncio.sleep(0.01)
    assert len(world.dials) == 2  # woken once


async def test_to_move_from_a_good_link_is_to_hang_up_and_dial(world, dial):
    world.answers = {("192.0.2.1", 1): "up", ("192.0.2.2", 2): "up"}
    made = dial("192.0.2.1:1")
    await world.until(lambda: len(world.links) == 1)
    while made.state != "connecting":
        await asyncio.sleep(0)
    made.move(("192.0.2.9:9", "192.0.2.1:1"))
    assert not world.links[0]._over
    made.move(("192.0.2.2:2",))
    assert world.links[0]._over
    world.lose()  # as the transport does
    await world.until(lambda: len(world.links) == 2)
    assert world.over == [(PEER, world.links[0])]
    assert world.dials == [("192.0.2.1", 1), ("192.0.2.2", 2)]


async def test_to_move_ends_an_attempt_elsewhere_and_leaves_one_that_is_still_right(world, dial):
    world.answers["192.0.2.1", 1] = world.answers["192.0.2.2", 2] = "never"
    made = dial("192.0.2.1:1")
    await world.until(lambda: len(world.links) == 1)
    made.move(("192.0.2.1:1", "192.0.2.2:2"))
    await asyncio.sleep(0)
    assert len(world.links) == 1
    made.move(("192.0.2.2:2",))
    await asyncio.sleep(0)
    made.move(("192.0.2.2:2",))  # it is ending already
    await world.until(lambda: len(world.links) == 2)
    assert world.over == [(PEER, world.links[0])]
    assert world.links[0]._over
    made.move(())
    await world.until(lambda: len(world.over) == 2)
    assert made.state == "down"


@pytest.mark.parametrize("stage", ["never", "up"])
async def test_to_cancel_it_gives_up_what_it_has(world, dial, stage):
    world.answers["192.0.2.1", 1] = stage
    made = dial("192.0.2.1:1")
    await world.until(lambda: len(world.links) == 1)
    for _ in range(5):
        await asyncio.sleep(0)
    made.task.cancel()
    await asyncio.wait({made.task})
    assert world.links[0]._over
    assert world.over == [(PEER, world.links[0])]
    assert made.state == "down"


@pytest.mark.parametrize(
    ("host", "means"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("127.1", ["127.0.0.1"]),
        ("0x7f000001", ["127.0.0.1"]),
        ("2130706433", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("0:0:0:0:0:0:0:1", ["::1"]),
        ("::ffff:127.0.0.1", ["::ffff:127.0.0.1"]),
    ],
)
async def test_however_an_ip_is_written_the_policy_sees_what_is_dialled(host, means):
    assert await module._resolve(host, 1) == means
