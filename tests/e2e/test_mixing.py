"""Mixing is changed in every way while a run goes on: nothing is lost, and all peers end with one model."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from typing import Any

import pytest

from ctl.client import Client
from ctl.contexts import Contexts
from peerd.pb import mixing_pb2

FAST = {
    "strategy": "exponential", "hops": 3, "direct": False, "mean_delay_seconds": 0.02,
    "send_rate_per_second": 0.0, "loop_rate_per_second": 0.5, "drop_rate_per_second": 0.5,
    "cover_budget_bytes_per_second": 0.0,
}  # fmt: skip
Changes = list[dict[str, Any]]
EVERY: Changes = [
    {"strategy": "outbox", "outbox_interval_seconds": 0.01, "outbox_jitter_seconds": 0.005},
    {"strategy": "threshold", "threshold_size": 4, "threshold_patience_seconds": 0.2},
    {"strategy": "timed", "timed_interval_seconds": 0.05},
    {"strategy": "pool", "pool_interval_seconds": 0.05, "pool_minimum": 3, "pool_rate": 0.8},
    {"strategy": "none"},
    {"preset": "balanced"},
    {"preset": "strong"},
    FAST,
    *({"hops": hops} for hops in (1, 2, 3)),
    {"mean_delay_seconds": 0.0},
    {"mean_delay_seconds": 0.1, "loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0},
    {"loop_rate_per_second": 10.0, "drop_rate_per_second": 10.0, "mean_delay_seconds": 0.02},
    {"cover_budget_bytes_per_second": 50_000.0},
    {"send_rate_per_second": 60.0, "cover_budget_bytes_per_second": 0.0},
    {"send_rate_per_second": 40.0, "strategy": "pool"},
    FAST,
]
EACH_KIND: Changes = [
    *EVERY[:5],
    {"preset": "strong"},
    {"hops": 1},
    {"mean_delay_seconds": 0.0},
    {"cover_budget_bytes_per_second": 50_000.0},
    {"send_rate_per_second": 40.0, "cover_budget_bytes_per_second": 0.0, "strategy": "pool"},
    FAST,
]
ROUNDS = 500
"""More than the changes take, on any machine; it is stopped after them."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "changes", [EACH_KIND, pytest.param(EVERY, marks=pytest.mark.soak)], ids=["each-kind", "every"]
)
def test_a_run_outlives_every_change_of_mixing(testbed, programs, until, changes: Changes) -> None:
    testbed.up(5, paced=True)
    names = list(testbed.pids())
    testbed.start_paced(ROUNDS, "--quorum", "1", "--round-timeout", "60s")
    until(lambda: testbed.call("alice", Client.run).round >= 1, every=0.1)
    _change_one(testbed, names)
    seconds = asyncio.run(_change(testbed, changes))
    for change, (took, rounds) in seconds.items():
        print(f"{took:5.1f} s, {rounds} rounds: {change}")

    changed = testbed.ask("--all", "mix", "set", "--direct", "on")
    assert {mixing["direct"] for mixing in changed.values()} == {True}
    _check_direct_mode(testbed, names, programs)
    asyncio.run(_train_without_a_mixnet(testbed))
    assert {tuple(status["alarms"]) for status in testbed.ask("--all", "status").values()} == {()}

    end = max(testbed.call(name, Client.run).round for name in names) + 1

    def all_there() -> bool:
        runs = [testbed.call(name, Client.run) for name in names]
        assert all(run.state == "running" for run in runs), runs
        return all(run.results[-1].round >= end for run in runs)

    until(all_there, seconds=90)
    testbed.ask("--all", "run", "stop")
    runs = testbed.ask("--all", "run", "show")
    for run in runs.values():
        assert run["state"] == "stopped"
        rounds = [result["round"] for result in run["results"]]
        assert rounds == sorted(set(rounds))  # a peer that was held up may go to where the others are
        assert len(rounds) + run["rounds_skipped"] == rounds[-1] >= end
        assert {result["closed_by"] for result in run["results"]} <= {"complete", "grace"}
        assert sum(result["gave_up"] for result in run["results"]) == 0
    whole = [run for run in runs.values() if run["results"][-1]["closed_by"] == "complete"]
    # Those that are told to stop a moment later close a round without those that have: their mean is another.
    whole = [run for run in whole if run["results"][-1]["cohort"] == len(names)]
    whole = [run for run in whole if not run["results"][-1]["listened"]]
    digests = {(run["results"][-1]["round"], run["model_digest"]) for run in whole}
    last = {name: (run["model_digest"][:8], run["results"][-2:]) for name, run in runs.items()}
    assert len(digests) == len({number for number, _ in digests}), last
    assert runs[names[0]]["model_digest"]
    statuses = testbed.ask("--all", "status")
    for status in statuses.values():
        traffic = status["traffic"]
        print(
            status["name"], traffic["dropped"], "resent", traffic["resent"], "own", traffic["packets"]["own"]
        )
        assert traffic["gave_up"] == 0
    assert sum(status["traffic"]["packets"]["dummy"] for status in statuses.values()) > 0
    measured = testbed.ask("mix", "show")["measured"]
    assert measured["mixed"] > 1000


def _change_one(testbed, names: list[str]) -> None:
    """By the program, as an operator does it: that peer mixes otherwise for a round, the others do not."""

    def configured() -> dict[str, Any]:
        shown = testbed.ask("--all", "mix", "show")
        return {name: {k: v for k, v in mixing.items() if k != "measured"} for name, mixing in shown.items()}

    assert names[0] == "alice"
    before, first = configured(), testbed.ask("run", "show")["round"]
    changed = testbed.ask("--context", "alice", "mix", "set", "--strategy", "pool")
    assert before["alice"]["strategy"] == "exponential"
    assert changed == before["alice"] | {"strategy": "pool"}
    assert configured() == before | {"alice": changed}
    while (run := testbed.call("alice", Client.run)).round < first + 2:
        assert run.state in ("starting", "running"), run
        time.sleep(0.1)


def _clients(testbed) -> list[Client]:
    return [Client(e, 20.0) for e in Contexts.load(testbed.folder / "contexts.toml").endpoints.values()]


async def _change(testbed, changes: Changes) -> dict[str, tuple[float, int]]:
    """Make each change on all peers at once, and go on when a round has ended under it; then pause."""
    clients = _clients(testbed)
    took = {}
    for change in changes:
        began = time.monotonic()
        request = mixing_pb2.UpdateMixingRequest(**change)
        answers = await asyncio.gather(*(client.update_mixing(request) for client in clients))
        for field, value in change.items():
            if field != "preset":
                assert {getattr(answer, field) for answer in answers} == {value}
        first = (await clients[0].run()).round
        while (run := await clients[0].run()).round < first + 1:
            assert run.state in ("starting", "running"), run
            await asyncio.sleep(0.05)
        took[str(change)] = (time.monotonic() - began, run.round - first)
    for client in clients:
        await client.pause_run()
        await client.__aexit__(None, None, None)
    return took


async def _train_without_a_mixnet(testbed) -> None:
    """Two rounds, then back to mixing, before the run is over."""
    clients = _clients(testbed)
    first = (await clients[0].run()).round
    for client in clients:
        await client.resume_run()
    while (await clients[0].run()).round < first + 2:
        await asyncio.sleep(0.05)
    for client in clients:
        await client.update_mixing(mixing_pb2.UpdateMixingRequest(direct=False))
    for client in clients:
        assert (await client.run()).state == "running", "all of that was while it went on"
        await client.__aexit__(None, None, None)


def _check_direct_mode(testbed, names: list[str], programs) -> None:
    """Nobody can overlook it: status, metric and log."""
    statuses = testbed.ask("--all", "status")
    assert {name: status["alarms"] for name, status in statuses.items()} == {
        name: ["direct"] for name in names
    }
    table = programs.ok("peerctl", "--testbed", testbed.folder, "--all", "status")
    assert table.count("DIRECT") == len(names)
    detail = programs.ok("peerctl", "--testbed", testbed.folder, "status")
    assert "NO ANONYMITY" in detail
    with urllib.request.urlopen(
        f"http://{statuses[names[0]]['metrics_address']}/metrics", timeout=10
    ) as answer:
        metrics = answer.read().decode()
    assert re.search(r'^peerd_alarm\{alarm="direct"\} 1\.0$', metrics, re.MULTILINE)
    assert re.search(r'^peerd_mixing_info\{hops="0",strategy="exponential"\} 1\.0$', metrics, re.MULTILINE)
    for name in names:
        assert "DIRECT MODE" in (testbed.folder / "logs" / f"{name}.log").read_text()
