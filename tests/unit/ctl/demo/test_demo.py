"""The demo's play over stand-in daemons: success, failure, death, Ctrl-C. Nothing is ever left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.testbed import Testbed

ARGUMENTS = ("demo", "--peers", "3", "--hops", "1", "--rounds", "2")
Left = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def temporary(home: Path, standin: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo makes its folder."""
    standin.use_for_peerctl()
    folder = home / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_json(peerctl: Any, temporary: Path, left_running: Left) -> None:
    made = peerctl.json(*ARGUMENTS, "--seed", "7")
    assert (made["peers"], made["rounds"], made["hops"]) == (3, 2, 1)
    assert made["accuracy"]["per_round"] == [0.1, 0.2]
    assert made["packets"]["forwarded"] == 120
    assert made["model_agreement"] == {"max_difference": 0.0, "identical": True}
    assert set(made["seconds"]) == {"start", "run", "collect", "stop"}
    assert made["wall_seconds"] == pytest.approx(sum(made["seconds"].values()), abs=1e-4)
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_lines_and_tables(peerctl: Any) -> None:
    result = peerctl(*ARGUMENTS)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[:3] == [
        "3 of 3 peers are up",
        "3 of 3 peers see all others",
        "3 peers train digits-cnn for 2 rounds",
    ]
    assert [line.partition(":")[0] for line in lines[3:5]] == ["round 1/2", "round 2/2"]
    for title in ("Accuracy per round", "What the mixnet did", "Peers"):
        assert title in result.stdout


def test_keep(peerctl: Any, temporary: Path, left_running: Left) -> None:
    result = peerctl(*ARGUMENTS, "--keep", "--output", "json")
    assert result.exit_code == 0, result.output
    folder = Path(json.loads(result.stdout)["dir"])
    testbed = Testbed.load(folder)
    try:
        assert len(left_running()) == 3
        assert f"peerctl testbed down --dir {folder} --delete" in result.stderr
        assert list(peerctl.json("--all", "status")) == ["alice", "bob", "carol"]
        assert peerctl("testbed", "down", "--dir", str(folder), "--delete").exit_code == 0
    finally:
        testbed.down()
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_a_failed_run_says_where_and_why(
    peerctl: Any, standin: Any, temporary: Path, left_running: Left
) -> None:
    standin(bob={"fail_run": 1})
    result = peerctl(*ARGUMENTS)
    assert result.exit_code == 1
    assert result.stderr == "peerctl: bob: the run failed: no data left\n"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_a_peer_that_dies_is_named_with_the_tail_of_its_log(
    peerctl: Any, standin: Any, temporary: Path, left_running: Left
) -> None:
    standin(carol={"die_in_run": 1}, alice={"hang": 1}, bob={"hang": 1})
    result = peerctl(*ARGUMENTS, "--output", "json")
    assert result.exit_code == 1
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["message"] == "carol was killed by SIGKILL"
    assert error["tail"][-1] == "the last words"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_after_a_failure_keep_keeps_the_logs_but_no_process(
    peerctl: Any, standin: Any, temporary: Path, left_running: Left
) -> None:
    standin(carol={"exit": 9})
    assert peerctl(*ARGUMENTS, "--keep").exit_code == 1
    assert left_running() == []
    (folder,) = temporary.iterdir()
    assert "cannot go on" in Testbed.load(folder).log("carol").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_tears_all_down(
    standin: Any, temporary: Path, left_running: Left, number: signal.Signals
) -> None:
    standin(alice={"hang": 1}, bob={"hang": 1}, carol={"hang": 1})
    code = (
        f"from ctl.testbed import Plan; Plan.make.__func__.__defaults__ = (None, {standin.command!r})\n"
        "from ctl.main import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *ARGUMENTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "train digits-cnn" in line:
                break
        assert left_running()
        process.send_signal(number)
        process.send_signal(number)  # an impatient user
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "peerctl: interrupted"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_it_is_quiet_about_the_developers_own_testbed(peerctl: Any, temporary: Path, home: Path) -> None:
    peerctl.json(*ARGUMENTS)
    assert [path.name for path in home.iterdir()] == ["tmp"]  # neither contexts nor a remembered testbed


CHURN = ("demo", "--churn", "--peers", "7", "--rounds", "12")


def test_with_churn_peers_come_and_go_on_the_screen(
    peerctl: Any, standin: Any, temporary: Path, left_running: Left
) -> None:
    standin(**{"": {"pace": 0.8}})
    result = peerctl(*CHURN)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1] == "5 of 5 peers see all others"
    assert lines[2] == "5 peers train digits-cnn for 12 rounds, frank and grace are to join them"
    for words in (
        "  > frank joins: its daemon starts, in round 2", "  > grace is there, in round",
        "  > bob leaves politely: it drains first, in round 4", "  > bob has left, in round",
        "  > carol crashes (kill -9), in round 5", "    alice: carol is dead", "round 12/12",
        "Accuracy per round", "What the mixnet did", "bob and carol went: what they did is in no figure",
    ):  # fmt: skip
        assert words in result.stdout, words
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_with_churn_json_has_what_happened(peerctl: Any, standin: Any, left_running: Left) -> None:
    standin(**{"": {"pace": 0.8}})
    made = peerctl.json(*CHURN)
    assert (made["peers"], made["rounds"]) == (5, 12)
    assert [detail["name"] for detail in made["peers_detail"]] == ["alice", "dora", "erin", "frank", "grace"]
    began = [
        (one["what"], one["peer"]) for one in made["churn"] if one["what"] in ("joins", "drains", "killed")
    ]
    assert began == [("joins", "frank"), ("joins", "grace"), ("drains", "bob"), ("killed", "carol")]
    assert left_running() == []
