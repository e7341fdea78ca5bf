"""What a peer sends, by the counters of real daemons: the same in every network with random-k."""

from __future__ import annotations

import csv

import psutil
import pytest


def check(programs, *options: str, timeout: float):
    """Run it, judge what every size of it must show, and give the report."""
    programs.environment["TMPDIR"] = str(programs.home)
    plot = programs.home / "sent.png"
    report = programs.json("experiment", "dissemination", "--plot", plot, *options, timeout=timeout)
    assert report["flat"] and report["spread"] <= 0.1
    fragments = report["sizes"][0]["random-k"]["fragments"]
    for size in report["sizes"]:
        few, all_others = size["random-k"], size["broadcast"]
        assert few["packets_per_peer_round"]["own"] >= 0.95 * report["fanout"] * fragments
        assert few["bytes_per_peer_round"] == pytest.approx(few["reckoned_bytes_per_peer_round"], rel=0.1)
        reckoned = all_others["reckoned_bytes_per_peer_round"]
        assert all_others["bytes_per_peer_round"] == pytest.approx(reckoned, rel=0.1)
        for cost in (few, all_others):
            assert cost["gave_up"] == 0
            closed = sum(cost["closed_by"].values())  # on a busy machine one may be late and skip a round
            assert 0.95 * size["peers"] * report["rounds"] <= closed <= size["peers"] * report["rounds"]
            assert "timeout" not in cost["closed_by"]
        assert few["accuracy"] == pytest.approx(all_others["accuracy"], abs=0.01)
        memory = size["memory_uss_bytes"]
        assert memory["sum"] == memory["daemons"] + memory["trainers"]
        assert 20e6 < memory["daemons"] / size["peers"] < 150e6
    smallest, largest = report["sizes"][0]["peers"], report["sizes"][-1]["peers"]
    assert report["growth_broadcast"] > 0.85 * (largest - 1) / (smallest - 1)
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(plot.with_suffix(".csv").read_text().splitlines()))
    assert len(rows) == 2 * len(report["sizes"])
    named = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])]
    assert not [line for line in named if str(programs.home) in " ".join(line)]
    assert list(programs.home.glob("peerd-*")) == []
    return report


@pytest.mark.parametrize("sizes", [[4, 6], pytest.param([4, 8], marks=pytest.mark.soak)])
def test_few_daemons(programs, sizes):
    report = check(programs, "--quick", "--peers", ",".join(map(str, sizes)), timeout=170)
    assert [size["peers"] for size in report["sizes"]] == sizes


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_up_to_twenty_four_daemons(programs):
    report = check(programs, timeout=1100)
    assert [size["peers"] for size in report["sizes"]] == [8, 16, 24]
