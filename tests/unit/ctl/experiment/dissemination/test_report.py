"""The figures of `peerctl experiment dissemination`, from counters that one can check by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ctl import render
from ctl.experiment.dissemination import report
from ctl.experiment.dissemination.meter import Memory, Reading
from ctl.experiment.dissemination.run import Cost, Setting, Size, cell_size, make_plan, make_run, split_sizes
from peerd.errors import InvalidInputError, PeerdError
from peerd.pb import node_pb2

SETTING = Setting((4, 10), fanout=2, rounds=5, hops=2, parameters=100, seed=1, patience=9.0)
CELL = 100


def status(own: int, ack: int, forwarded: int, sent: int, **more: int) -> node_pb2.NodeStatus:
    packets = {"own": own, "ack": ack, "forwarded": forwarded, "gossip": 7}
    return node_pb2.NodeStatus(traffic=node_pb2.TrafficStatus(packets=packets, bytes_sent=sent, **more))


def cost(own: int, peers: int) -> Cost:
    sent = Reading({"own": own, "ack": own, "forwarded": 4 * own, "gossip": 99}, own * 1000, resent=3)
    return Cost(sent, 10, {"complete": 5 * peers}, 0.9, 0.5)


def found(few: tuple[int, int] = (400, 1000)) -> list[Size]:
    """2 copies of 10 fragments of 4 and of 10 peers in 5 rounds; broadcast: 3 and 9 copies."""
    return [
        Size(4, {"random-k": cost(few[0], 4), "broadcast": cost(600, 4)}, 11.0, Memory(40, 8)),
        Size(10, {"random-k": cost(few[1], 10), "broadcast": cost(4500, 10)}, 33.0, Memory(100, 20)),
    ]


def test_a_reading_is_a_sum_and_what_happened_is_a_difference() -> None:
    before = Reading.of([status(1, 2, 3, 1000), status(1, 0, 0, 500, resent=1)])
    after = Reading.of([status(11, 2, 43, 9000), status(1, 10, 0, 500, resent=3, gave_up=1)])
    sent = after.since(before)
    assert (sent.bytes_sent, sent.resent, sent.gave_up) == (8000, 2, 1)
    assert sent.of_the_run == 10 + 10 + 40  # gossip is none of it
    assert sent.packets["gossip"] == 0


def test_the_cost_of_a_peer_and_round() -> None:
    result = report.whole(found(), SETTING, CELL, ["x.png"])
    few = result["sizes"][0]["random-k"]
    assert few["bytes_per_peer_round"] == few["reckoned_bytes_per_peer_round"] == 2 * 10 * 6 * CELL
    assert few["packets_per_peer_round"] == {"own": 20.0, "ack": 20.0, "forwarded": 80.0}
    assert result["sizes"][1]["broadcast"]["reckoned_bytes_per_peer_round"] == 9 * 10 * 6 * CELL
    assert (result["spread"], result["flat"]) == (0.0, True)
    assert (result["growth_random_k"], result["growth_broadcast"]) == (1.0, 3.0)
    assert result["sizes"][1]["memory_uss_bytes"] == {"daemons": 100, "trainers": 20, "sum": 120}
    assert result["files"] == ["x.png"]


@pytest.mark.parametrize(("most", "flat"), [(1200, True), (1250, False)])
def test_flat_is_within_a_tenth_of_the_mean(most: int, flat: bool) -> None:
    result = report.whole(found((400, most)), SETTING, CELL, [])
    assert result["flat"] is flat
    console = render.progress_console(stderr=False)
    with console.capture() as capture:
        console.print(report.shown(result))
    assert ("NOT flat" in capture.get()) is not flat


def test_the_table_the_file_and_the_picture(tmp_path: Path) -> None:
    result = report.whole(found(), SETTING, CELL, [])
    files = report.write(result, tmp_path / "sent.png")
    assert files == [str(tmp_path / "sent.png"), str(tmp_path / "sent.csv")]
    rows = list(csv.DictReader((tmp_path / "sent.csv").read_text().splitlines()))
    assert [(row["peers"], row["way"]) for row in rows] == [
        ("4", "random-k"), ("4", "broadcast"), ("10", "random-k"), ("10", "broadcast")
    ]  # fmt: skip
    assert rows[0]["own"] == "20.0"
    with pytest.raises(PeerdError, match=r"sent\.png: cannot be written"):
        report.write(result, tmp_path / "nowhere" / "sent.png")


def test_what_is_run() -> None:
    plan = make_plan(8, SETTING)
    assert plan.config.mixing.loop_rate_per_second == plan.config.mixing.drop_rate_per_second == 0.0
    assert plan.config.mixing.hops == 2
    assert 8192 < cell_size(plan) < 8192 + 400
    few, broadcast = make_run("random-k", SETTING), make_run("broadcast", SETTING)
    assert (few.dissemination, few.fanout, few.task_options) == ("random-k", 2, {"parameters": "100"})
    assert broadcast.dissemination == "broadcast" and few.run_id != broadcast.run_id


def test_sizes() -> None:
    assert split_sizes("24,8, 16,8") == (8, 16, 24)
    with pytest.raises(InvalidInputError, match="8,16,24"):
        split_sizes("8;9")
    for sizes, fanout, hops, least in (((5,), 4, 3, 6), ((8, 3), 1, 2, 4), ((300,), 4, 3, 6)):
        with pytest.raises(InvalidInputError, match=f"between {least} and 256"):
            Setting(sizes, fanout, rounds=1, hops=hops, parameters=1, seed=1, patience=1.0)


def test_memory_keeps_the_most_of_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peer:
        process = type("Process", (), {"pid": 1})

    class Bed:
        peers = (Peer, Peer)

    unique = {1: 100, 2: 30}
    monkeypatch.setattr("ctl.experiment.dissemination.meter._unique", unique.__getitem__)
    monkeypatch.setattr(
        "ctl.experiment.dissemination.meter.started_by", lambda _: [type("Process", (), {"pid": 2})]
    )
    memory = Memory()
    memory.look(Bed())  # type: ignore[arg-type]
    unique[1], unique[2] = 80, 50
    memory.look(Bed())  # type: ignore[arg-type]
    assert memory.as_json() == {"daemons": 200, "trainers": 100, "sum": 300}
