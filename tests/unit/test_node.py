"""A real node, started but not run: what comes out of its mixnet reaches those who read it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from peerd.config import LinkConfig, MetricsConfig, NetworkConfig, PeerdConfig
from peerd.delivery import Event, LoopReturned
from peerd.delivery.loops import WINDOW
from peerd.membership import Authority, PeerState
from peerd.mixing import SHORT_SECONDS
from peerd.node import Node

NAMES = ("alice", "bob", "carol", "dave", "erin")
LOST_AFTER_SECONDS = 3600.0


class Log:
    """Remembers what is logged as a warning or worse."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = warning

    def info(self, _event: str, **_fields: Any) -> None: ...

    debug = info

    def bind(self, **_fields: Any) -> Log:
        return self


class Loops:
    """What becomes of the loop cover of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._monitor = node._mixnet.delivery.loops
        self._number = 0

    def settle(self, home: bool) -> None:
        self._number += 1
        loop = self._number.to_bytes(16, "big")
        now = self._number * LOST_AFTER_SECONDS
        self._monitor.made(loop, frozenset(), 0.1)
        self._monitor.departed(loop, now)
        events: list[Event]
        if home:
            returned = self._monitor.returned(loop, now + 0.2)
            assert isinstance(returned, LoopReturned)
            events = [returned]
        else:
            events = self._monitor.expire(now + LOST_AFTER_SECONDS)
            assert len(events) == 1
        self._node._on_events(events)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def node(tmp_path: Path, log: Log) -> AsyncIterator[Node]:
    authority = Authority.create(tmp_path / "network", NetworkConfig(name="small"))
    for number, name in enumerate(NAMES, 1):
        authority.enroll_local(name, f"127.0.0.1:{number}", tmp_path / name)
    authority.write_bundles()["alice"].install(tmp_path / "alice")
    config = PeerdConfig(link=LinkConfig(listen="127.0.0.1:0"), metrics=MetricsConfig(detail="full"))
    node = Node(config, PeerState.load(tmp_path / "alice"), tmp_path / "alice", log)
    node.start()
    yield node
    await node._links.close()
    await node.close()


def exposed(node: Node, name: str) -> dict[str, float]:
    """The series of a metric, by their labels."""
    lines = generate_latest(node.metrics.registry).decode()
    return {labels: float(now) for labels, now in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", lines, re.M)}


def raised(node: Node) -> tuple[list[str], bool, bool]:
    """The alarms that status tells, and the blending alarm in `mix show` and in the metrics."""
    metric = exposed(node, "peerd_alarm")['alarm="blending"']
    return node.commands.status().alarms, node.commands.mixing_measured().loops.alarm, metric == 1.0


def told(node: Node) -> list[str]:
    return [event.what for event in node.events.latest() if event.kind == "alarm"]


async def test_loops_that_stay_away_are_an_alarm_wherever_one_looks_until_they_come_home(node, log):
    loops = Loops(node)
    for _ in range(WINDOW):
        loops.settle(home=True)
    assert raised(node) == ([], False, False)
    lost = 0
    while not node._mixnet.delivery.loops.alarm:
        assert raised(node) == ([], False, False)
        loops.settle(home=False)
        lost += 1
    assert lost == WINDOW / 2  # the default: half of the latest
    assert raised(node) == (["blending"], True, True)
    assert told(node) == ["blending raised"]
    (line,) = [fields for event, fields in log.lines if event == "ALARM"]
    assert line["alarm"] == "blending"
    assert "share lost: 0.50" in line["detail"]

    while node._mixnet.delivery.loops.alarm:
        assert raised(node) == (["blending"], True, True)
        loops.settle(home=True)
    assert raised(node) == ([], False, False)
    assert told(node) == ["blending raised", "blending over"]
    assert [fields["alarm"] for event, fields in log.lines if event == "the alarm is over"] == ["blending"]


async def test_who_sends_no_loops_any_more_has_no_alarm_either(node):
    loops = Loops(node)
    for _ in range(WINDOW):
        loops.settle(home=False)
    assert raised(node) == (["blending"], True, True)
    await node.commands.set_mixing("", {"loop_rate_per_second": 0.0})
    assert raised(node) == ([], False, False)
    assert told(node) == ["blending raised", "blending over"]


async def test_the_entropy_that_is_shown_is_that_of_the_strategy_in_force(node):
    assert exposed(node, "peerd_entropy_shannons") == {}
    node.tally.mixed("exponential", 3.0, 10)
    assert exposed(node, "peerd_entropy_shannons") == {'strategy="exponential"': 3.0}
    await node.commands.set_mixing("", {"strategy": "pool"})
    now = node.commands.mixing_measured()
    assert (now.entropy_bits, now.mixed, now.end_to_end[0].bits) == (0.0, 0, 0.0)
    assert exposed(node, "peerd_entropy_shannons") == {}
    node.tally.mixed("pool", 1.0, 2)
    now = node.commands.mixing_measured()
    node.tally.mixed("pool", 4.0, 2)
    assert (now.entropy_bits, now.mixed, now.mean_entropy_bits) == (1.0, 2, 1.0)
    now = node.commands.mixing_measured()
    assert (now.mixed, now.mean_entropy_bits) == (4, 2.5)
    assert now.entropy_bits < 1.1  # the moving average moves by and by
    assert exposed(node, "peerd_entropy_shannons") == {'strategy="pool"': now.entropy_bits}
    await node.commands.set_mixing("", {"strategy": "exponential"})
    assert exposed(node, "peerd_entropy_shannons") == {'strategy="exponential"': 3.0}


def test_too_few_for_a_path_are_an_alarm_when_it_lasts(node):
    """Three hops and a recipient take four others."""
    judge = node._mixing.judge_paths
    deadline = judge(3, 100.0)
    assert deadline == 100.0 + SHORT_SECONDS
    assert judge(2, 110.0) == deadline, "another who goes does not put it off"
    assert raised(node)[0] == []
    assert judge(3, deadline) is None
    assert raised(node)[0] == ["paths"]
    assert judge(4, deadline + 1) is None
    assert raised(node)[0] == []
    assert told(node) == ["paths raised", "paths over"]
    assert judge(3, deadline + 2) == deadline + 2 + SHORT_SECONDS


async def test_fewer_hops_need_fewer(node):
    assert node._mixing.judge_paths(2, 0.0) is not None
    await node.commands.set_mixing("", {"hops": 1})
    assert node._mixing.judge_paths(2, 0.0) is None
    await node.commands.set_mixing("", {"direct": True})
    assert node._mixing.judge_paths(1, 0.0) is None
    assert node._mixing.judge_paths(0, 0.0) is not None


async def test_a_peer_that_runs_alone_says_so(node, monkeypatch):
    monkeypatch.setattr("peerd.mixing.SHORT_SECONDS", 0.0)
    running = asyncio.create_task(node.run())
    try:
        async with asyncio.timeout(20):
            async for event in node.commands.watch_events(0, follow=True):
                if event.what == "paths raised":
                    break
        assert node.commands.status().alarms == ["paths"]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
