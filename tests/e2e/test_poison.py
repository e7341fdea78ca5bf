"""One of six real peers sends poison: lies that are numbers, and what is no update at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctl.client import Client

HOSTILE_PEERD = Path(__file__).with_name("hostile_peerd.py")
ROUNDS, FRAGMENTS = 4, 6
"""Of an update of the task `paced`."""
POINT = 0.01
REFUSED = {"not_finite", "bad_fragment"}


def check(report, clean: float, peers: int = 6) -> None:
    """The mean is visibly hurt, median and trimmed mean stay within two points of the clean run."""
    for attack in report["mean"].keys() - {"none"}:
        assert report["mean"][attack]["accuracy"] < clean - 10 * POINT, attack
        for aggregator in report.keys() & {"median", "trimmed-mean"}:
            assert report[aggregator][attack]["accuracy"] >= clean - 2 * POINT, (aggregator, attack)
    for row in report.values():
        for cell in row.values():
            assert cell["refused"] == {}, "poison that is finite is not refused"
            assert (cell["models"], cell["cohort_min"]) == (1, peers)


QUICK = ["mean", "median", "trimmed-mean"]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("peers", "hops", "aggregators"), [(4, 1, QUICK[:2]), pytest.param(6, 3, QUICK, marks=pytest.mark.soak)]
)
def test_one_peer_turns_its_updates_round(programs, peers, hops, aggregators):
    programs.environment["TMPDIR"] = str(programs.home)
    report = programs.json(
        "experiment", "poison", "--quick", "--attacks", "none,sign-flip", "--peers", peers, "--hops", hops,
        "--aggregators", ",".join(aggregators), timeout=170,
    )  # fmt: skip
    assert list(report) == aggregators
    check(report, report["mean"]["none"]["accuracy"], peers)
    assert list(programs.home.glob("peerd-*")) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_every_aggregator_and_attack(programs):
    report = programs.json("experiment", "poison", timeout=590)
    assert report.keys() == {"mean", "median", "trimmed-mean", "clipped-mean", "krum"}
    clean = report["mean"]["none"]["accuracy"]
    check(report, clean)
    for aggregator in ("clipped-mean", "krum"):
        for attack, cell in report[aggregator].items():
            assert cell["accuracy"] > report["mean"]["sign-flip"]["accuracy"], (aggregator, attack)


@pytest.mark.timeout(180)
def test_what_is_no_update_is_refused_and_counted(testbed, programs, until, beside):
    """The others end with the very model that they have without the hostile one, whose data is lost."""
    testbed.up(4, "--hops", "1", paced=True)
    names = list(testbed.pids())
    bad, honest = names[2], [*names[:2], *names[3:]]
    programs.ok("peerctl", "testbed", "stop", "--dir", testbed.folder, bad)
    folder, config = testbed.folder / "peers" / bad, testbed.folder / f"{bad}.toml"
    hostile = beside(folder, "--config", config, program=[HOSTILE_PEERD])
    until(lambda: all(testbed.call(name, Client.status).peers_alive == 3 for name in honest))
    same = ("run", "start", "--task", "paced:make", "--rounds", str(ROUNDS), "--grace", "2s", "--seed", "7",
            "--shards", "4", "--streaming", "0")  # fmt: skip
    """So that the same comes out twice."""

    def finished(rounds: int = ROUNDS):
        assert hostile.process.poll() is None, hostile.log.read_text()
        runs = [testbed.call(name, Client.run) for name in honest]
        return runs if all(run.state == "finished" and len(run.results) == rounds for run in runs) else None

    testbed.ask("--on", ",".join(honest), *same)
    poisoned = until(finished, seconds=90, every=0.5)
    assert {result.cohort for run in poisoned for result in run.results} == {4}
    assert {result.closed_by for run in poisoned for result in run.results} == {"grace"}
    for name in honest:
        dropped = testbed.call(name, Client.status).traffic.dropped
        assert set(dropped) >= REFUSED
        # What comes after a round was closed is refused as late, before anybody looks into it.
        assert sum(dropped[why] for why in (*REFUSED, "round_past")) == ROUNDS * FRAGMENTS
    (model,) = {run.model_digest for run in poisoned}

    hostile.end()
    until(lambda: all(testbed.call(name, Client.status).peers_alive == 2 for name in honest))
    testbed.ask("--on", ",".join(honest), *same)
    first = poisoned[0].spec.run_id

    def finished_again():
        runs = [testbed.call(name, Client.run) for name in honest]
        return runs if all(r.state == "finished" and r.spec.run_id != first for r in runs) else None

    clean = until(finished_again, seconds=90, every=0.5)
    assert {result.closed_by for run in clean for result in run.results} == {"complete"}
    assert {run.model_digest for run in clean} == {model}
    assert clean[0].results[-1].accuracy == poisoned[0].results[-1].accuracy > 0.9
