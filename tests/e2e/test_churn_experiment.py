"""The churn test of the specification with real daemons. One that is always run is in `test_wan.py`."""

from __future__ import annotations

import csv

import psutil
import pytest


def check(programs, *options: str, timeout: float):
    """Run it, judge what every size of it must show, and give the report."""
    programs.environment["TMPDIR"] = str(programs.home)
    plot = programs.home / "churn.png"
    report = programs.json("experiment", "churn", "--plot", plot, *options, timeout=timeout)
    assert report["survivors_completed_all"], report["survivors"]
    assert report["max_wait_after_death_seconds"] <= report["grace_seconds"], report["longest_wait"]
    assert report["gave_up_to_living"] == 0
    assert abs(report["accuracy"] - report["accuracy_calm"]) <= 0.01 + 1e-9
    for joiner in report["late_joiners"]:
        assert joiner["listened_round"] is not None, joiner
        assert joiner["reached"], joiner
    assert plot.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((programs.home / "churn.csv").read_text().splitlines()))
    assert {"active", "resent", "dropped_unacked"} <= rows[0].keys()
    assert int(rows[-1]["resent"]) > 0
    assert int(rows[-1]["dropped_unacked"]) > 0
    assert min(int(row["active"]) for row in rows) < max(int(row["active"]) for row in rows)
    assert left(programs.home) == []
    assert list(programs.home.glob("peerd-*")) == []
    return report


def left(folder) -> list[str]:
    """Command lines of processes that name the folder."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


@pytest.mark.soak
@pytest.mark.timeout(420)
def test_the_short_churn_test(programs):
    report = check(programs, "--quick", timeout=400)
    assert (report["peers"], report["rounds"]) == (7, 7)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_whole_churn_test(programs):
    report = check(programs, timeout=1100)
    assert (report["peers"], report["rounds"]) == (10, 12)
    fates = [tuple(peer["fate"]) for peer in report["peers_detail"]]
    assert sorted(fates) == sorted(
        [("steady",)] * 3 + [("join",)] * 2 + [("drain",)] * 2 + [("kill", "return"), ("kill",), ("freeze",)]
    )
    returned = next(peer for peer in report["peers_detail"] if peer["fate"] == ["kill", "return"])
    frozen = next(peer for peer in report["peers_detail"] if peer["fate"] == ["freeze"])
    assert returned["rounds_closed"][-1] == frozen["rounds_closed"][-1] == 12


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_demo_shows_peers_that_come_and_go(programs):
    shown = programs.ok("peerctl", "demo", "--churn", timeout=580)
    for words in ("grace joins", "heidi joins", "bob leaves politely", "bob has left", "carol crashes",
                  "alice: carol is dead", "round 8/8", "bob and carol went"):  # fmt: skip
        assert words in shown, shown
