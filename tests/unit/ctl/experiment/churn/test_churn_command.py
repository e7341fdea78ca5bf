"""`peerctl experiment churn` over stand-in daemons: both runs, the files, and that nothing is left."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.churn import Schedule, Step

Left = Callable[[], list[str]]
SHORT = Schedule(
    5,
    10,
    (
        Step(2, "join", "erin"),
        Step(3, "kill", "bob"),
        Step(4, "freeze", "carol", 0.4),
        Step(6, "return", "bob"),
    ),
)


@pytest.fixture(autouse=True)
def temporary(home: Path, standin: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the experiment makes its folders; what it plays is short, by stand-ins in step with a clock."""
    standin.use_for_peerctl()
    standin(**{"": {"pace": 0.6}})
    monkeypatch.setattr("ctl.churn.QUICK", SHORT)
    monkeypatch.setitem(sys.modules["ctl.commands.churn"].__dict__["SETTINGS"], True, (1, 5.0, 1.0))
    folder = home / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def arguments(home: Path, *more: str) -> tuple[str, ...]:
    return ("experiment", "churn", "--quick", "--epochs", "7", "--plot", str(home / "churn.png"), *more)


def test_json_and_files(peerctl: Any, home: Path, temporary: Path, left_running: Left) -> None:
    result = peerctl.json(*arguments(home, "--seed", "3"))
    assert (result["peers"], result["rounds"], result["seed"], result["local_epochs"]) == (5, 10, 3, 7)
    assert result["survivors_completed_all"] is True
    assert result["survivors"] == {"alice": True, "dora": True, "erin": True}
    assert result["accuracy"] == result["accuracy_calm"] == 1.0
    assert result["gave_up_to_living"] == 0
    assert [joiner["name"] for joiner in result["late_joiners"]] == ["erin"]
    assert result["late_joiners"][0]["reached"] is True
    made = [(e["peer"], e["what"]) for e in result["events"] if e["by"] == "experiment"]
    assert set(made) == {
        ("erin", "joins"), ("erin", "there"), ("bob", "killed"), ("carol", "frozen"), ("carol", "thawed"),
        ("bob", "returns"), ("bob", "back"),
    }  # fmt: skip
    assert result["files"] == [str(home / "churn.png"), str(home / "churn.csv")]
    rows = list(csv.DictReader((home / "churn.csv").read_text().splitlines()))
    assert {int(row["active"]) for row in rows} >= {4, 5}
    assert int(rows[-1]["dropped_unacked"]) > 0
    assert (home / "churn.png").read_bytes().startswith(b"\x89PNG")
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_lines_tables_and_kept_files(peerctl: Any, home: Path, temporary: Path, left_running: Left) -> None:
    result = peerctl("experiment", "churn", "--quick", "--epochs", "7", "--no-plot", "--keep")
    assert result.exit_code == 0, result.output
    for words in ("calm: 5 of 5 peers see all others", "churn: 4 of 4 peers see all others",
                  "churn:   > bob crashes (kill -9), in round", "churn: round 10/10"):  # fmt: skip
        assert words in result.stderr, words
    for words in ("What the churn cost", "closed every round", "Late joiner"):
        assert words in result.stdout, words
    (folder,) = temporary.iterdir()
    assert f"Kept {folder}" in result.stdout
    assert (folder / "logs" / "bob.log").exists()
    assert left_running() == []


def test_a_failure_is_one_line_and_leaves_nothing(
    peerctl: Any, standin: Any, home: Path, temporary: Path, left_running: Left
) -> None:
    standin(**{"": {"pace": 0.3}, "dora": {"fail_run": 1}})
    result = peerctl(*arguments(home))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "peerctl: dora: the run failed: no data left"
    assert not (home / "churn.png").exists()
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_ctrl_c_ends_and_removes_everything(
    standin: Any, home: Path, temporary: Path, left_running: Left
) -> None:
    code = (
        f"from ctl.testbed import Plan; Plan.make.__func__.__defaults__ = (None, {standin.command!r})\n"
        "from ctl.main import main; main()"
    )
    standin(**{"": {"pace": 3.0}})
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "round 1/" in line:
                break
        assert left_running()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "peerctl: interrupted"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_the_options_are_checked_before_anything_is_started(peerctl: Any, temporary: Path) -> None:
    assert "no such folder" in peerctl.error(3, "experiment", "churn", "--plot", "/nowhere/x.png")
    result = peerctl("experiment", "churn", "--quick", "--plot", "/nowhere/x.png", "-o", "json")
    assert json.loads(result.stderr)["error"]["exit_code"] == 3
    assert list(temporary.iterdir()) == []
