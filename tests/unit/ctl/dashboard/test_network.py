"""What the page is told of a network, made of answers; time is given."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from ctl.dashboard.curves import LATEST_ROUNDS, POINTS, accuracy_curve
from ctl.dashboard.network import Look, Network

MakeLook = Callable[..., Look]
MakeRun = Callable[..., Any]


def rows(network: Network, now: float = 100.0) -> dict[str, dict[str, Any]]:
    snapshot = network.snapshot(now)
    json.dumps(snapshot, allow_nan=False)
    return {row["name"]: row for row in snapshot["peers"]}


def test_before_anybody_has_answered() -> None:
    network = Network(["alice", "bob"])
    snapshot = network.snapshot(0.0)
    assert [row["name"] for row in snapshot["peers"]] == ["alice", "bob"]
    assert not any(row["known"] for row in snapshot["peers"])
    assert (snapshot["run"], snapshot["accuracy"], snapshot["history"], snapshot["networks"]) == (
        None,
        [],
        [],
        [],
    )


def test_a_peer_that_answers(look_of: MakeLook, make_run: MakeRun) -> None:
    network = Network(["alice"])
    network.heard("alice", look_of("alice", make_run(0.5, 0.75), alarms=["disk"]), 99.0)
    (row,) = rows(network).values()
    assert (row["error"], row["known"], row["heard_seconds_ago"]) == ("", True, 1.0)
    assert (row["accuracy"], row["strategy"], row["hops"], row["entropy_bits"]) == (
        0.75,
        "exponential",
        3,
        3.0,
    )
    assert (row["peers_alive"], row["peers_enrolled"], row["alarms"]) == (4, 5, ["disk"])
    assert row["bytes_per_second"] is None, "one look makes no rate"


def test_rates_are_of_the_last_seconds_and_of_one_life(look_of: MakeLook) -> None:
    network = Network(["alice"])

    def look(uptime: float, sent: int, cpu: float) -> Look:
        made = look_of("alice", uptime_seconds=uptime, cpu_seconds=cpu)
        made.status.traffic.bytes_sent = sent
        made.status.trainer.cpu_seconds = 0.0
        return made

    for second in range(0, 20, 2):
        network.heard("alice", look(10.0 + second, 1_000 * second, 0.1 * second), 50.0 + second)
    row = rows(network)["alice"]
    assert row["bytes_per_second"] == pytest.approx(1_000)
    assert row["cpu_share"] == pytest.approx(0.1)
    network.heard("alice", look(1.0, 10, 0.0), 72.0)  # it was started anew
    assert rows(network)["alice"]["bytes_per_second"] is None
    network.heard("alice", look(3.0, 4_010, 0.0), 74.0)
    assert rows(network)["alice"]["bytes_per_second"] == pytest.approx(2_000)


def test_one_peer_that_is_lost_takes_nothing_from_the_others(look_of: MakeLook, make_run: MakeRun) -> None:
    network = Network(["alice", "bob"])
    for name in network.names:
        network.heard(name, look_of(name, make_run(0.5)), 90.0)
    network.failed("bob", "bob: no daemon\nanswers \x1b[31m", 95.0)
    network.sample(95.0)
    row = rows(network)["bob"]
    assert row["error"] == "bob: no daemon answers [31m"
    assert row["heard_seconds_ago"] == 10.0
    assert row["round"] == 2, "what was known of it last"
    snapshot = network.snapshot(100.0)
    assert snapshot["run"]["peers"] == 1
    assert snapshot["accuracy"][0]["peers"] == 1
    network.heard("bob", look_of("bob", make_run(0.5)), 99.0)
    assert rows(network)["bob"]["error"] == ""
    assert network.snapshot(100.0)["run"]["peers"] == 2


def test_every_change_is_another_version(look_of: MakeLook) -> None:
    network = Network(["alice"])
    versions = [network.version]
    for change in (
        lambda: network.heard("alice", look_of("alice"), 1.0),
        lambda: network.failed("alice", "gone", 2.0),
        lambda: network.sample(3.0),
    ):
        change()
        versions.append(network.version)
    assert versions == sorted(set(versions))


def test_the_run_is_that_which_goes_on(look_of: MakeLook, make_run: MakeRun) -> None:
    network = Network(["alice", "bob", "carol", "dora"])
    old = make_run(0.1, 0.2, 0.3, state="finished", run_id="f" * 32)
    network.heard("alice", look_of("alice", old), 1.0)
    network.heard("bob", look_of("bob", old), 1.0)
    network.heard("carol", look_of("carol", make_run(0.5)), 1.0)
    network.heard("dora", look_of("dora"), 1.0)
    snapshot = network.snapshot(2.0)
    run = snapshot["run"]
    assert (run["run_id"][:4], run["state"], run["round"], run["closed"], run["peers"]) == (
        "0123",
        "running",
        2,
        1,
        1,
    )
    assert [one["aggregated"] for one in snapshot["accuracy"]] == [(0.5, 0.5, 0.5)]
    network.heard("carol", look_of("carol", make_run(0.5, state="paused")), 3.0)
    network.heard("alice", look_of("alice", make_run(0.5, state="finished")), 3.0)
    run = network.snapshot(4.0)["run"]
    assert run["states"] == {"finished": 1, "paused": 1}
    assert run["state"] == "paused", "who still goes on is what matters"


def test_accuracy_is_spread_over_the_peers(make_run: MakeRun) -> None:
    runs = [make_run(0.5, 0.75), make_run(0.75, 0.875), make_run(0.25)]
    runs[1].results[1].listened = True
    runs[2].results.add(round=2, test_samples=0)  # not measured yet
    first, second = accuracy_curve(runs)
    assert (first["round"], first["aggregated"], first["peers"]) == (1, (0.25, 0.5, 0.75), 3)
    assert second["aggregated"] == (0.75, 0.8125, 0.875)
    assert second["local"] == pytest.approx((0.65, 0.65, 0.65)), "who listened has trained none"
    assert accuracy_curve([]) == []


def test_a_model_that_diverged_leaves_a_gap(look_of: MakeLook, make_run: MakeRun) -> None:
    network = Network(["alice"])
    network.heard("alice", look_of("alice", make_run(0.5, math.nan)), 1.0)
    assert rows(network)["alice"]["accuracy"] is None
    assert [one["aggregated"] for one in network.snapshot(2.0)["accuracy"]] == [(0.5, 0.5, 0.5), None]


def test_curves_over_time_are_bounded_and_of_who_answers(look_of: MakeLook) -> None:
    network = Network(["alice", "bob"])
    network.heard("alice", look_of("alice"), 0.0)
    network.failed("bob", "gone", 0.0)
    for second in range(POINTS + 50):
        network.sample(float(second))
    history = network.snapshot(float(POINTS + 49))["history"]
    assert len(history) == POINTS
    assert (history[0]["ago"], history[-1]["ago"]) == (POINTS - 1, 0.0)
    assert history[-1]["rtt_p50"] == pytest.approx(0.4)
    assert history[-1]["rtt_p95"] is None, "zero is what a peer says while it has none"
    assert history[-1]["entropy"] == (3.0, 3.0, 3.0)


def test_long_runs_show_their_latest_rounds(make_run: MakeRun) -> None:
    curve = accuracy_curve([make_run(*[0.5] * (LATEST_ROUNDS + 10))])
    assert [curve[0]["round"], curve[-1]["round"], len(curve)] == [11, LATEST_ROUNDS + 10, LATEST_ROUNDS]


def test_what_a_peer_says_is_one_line_of_text(look_of: MakeLook, make_run: MakeRun) -> None:
    network = Network(["alice"])
    evil = "<b>\x1b]0;x\x07\n" * 3
    run = make_run(0.5, state="failed", error=evil)
    run.spec.task = evil
    network.heard("alice", look_of("alice", run, network=evil, version=evil, stage=evil, alarms=[evil]), 1.0)
    told = json.dumps(network.snapshot(2.0), ensure_ascii=False)
    assert not any(not character.isprintable() for character in told)
    assert "\\u" not in told
    assert "\\n" not in told


def test_what_a_peer_says_has_an_end(look_of: MakeLook) -> None:
    network = Network(["alice"])
    network.heard("alice", look_of("alice", version="9" * 1_000_000), 1.0)
    network.failed("alice", "x" * 1_000_000, 1.0)
    assert len(json.dumps(network.snapshot(2.0))) < 5_000
