"""`peerctl experiment encodings` over stand-in daemons, and its figures from made-up counters."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.experiment.encodings import report
from ctl.experiment.encodings.run import NAMES, Setting, make_plan, make_specs
from ctl.experiment.series import Measured, Traffic
from peerd.pb import runs_pb2

Left = Callable[[], list[str]]
QUICK = ("experiment", "encodings", "--quick", "--peers", "5")


@pytest.fixture(autouse=True)
def temporary(home: Path, standin: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the experiment makes its folder."""
    standin.use_for_peerctl()
    folder = home / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def measured(cells: int, accuracy: float, beside: int = 10, closed_by: str = "complete") -> Measured:
    run = runs_pb2.RunStatus(
        spec=runs_pb2.RunSpec(task="digits-cnn", rounds=1), model_digest="x", fragments=4
    )
    run.results.add(round=1, accuracy=accuracy, test_samples=7, cohort=2, closed_by=closed_by)
    kinds = Counter({"own": cells // 2, "forwarded": cells - cells // 2, "gossip": beside})
    traffic = Traffic(kinds, 100 * (cells + beside), 100, 0, 0, Counter())
    return Measured({"a": run, "b": run}, traffic, 2.0)


def test_ratios_are_of_the_run_and_the_rest_is_told_apart() -> None:
    rows = report.whole({"float32": measured(4_000, 0.9), "int8": measured(1_000, 0.88)}, 3)
    assert rows["float32"]["ratio"] == 1.0
    assert (rows["int8"]["ratio"], rows["int8"]["bytes_on_links"], rows["int8"]["bytes_beside"]) == (
        4.0, 100_000, 1_000,
    )  # fmt: skip
    assert rows["int8"]["ratio_with_beside"] == pytest.approx(401_000 / 101_000, abs=1e-6)
    assert rows["int8"]["accuracy_less"] == pytest.approx(0.02)
    assert rows["int8"]["cover"] == 0


def test_without_float32_there_is_nothing_to_compare_with() -> None:
    (row,) = report.whole({"int8": measured(1_000, 0.88)}, 3).values()
    assert row["ratio"] is row["ratio_with_beside"] is row["accuracy_less"] is None


def test_what_did_not_go_smoothly_is_noted() -> None:
    rows = report.whole({"int8": measured(1_000, 0.88, closed_by="grace")}, 3)
    assert any("2 rounds on single peers closed by grace" in note for note in report.notes(rows))
    assert len(report.notes(report.whole({"int8": measured(1_000, 0.88)}, 3))) == 3


def test_the_runs_differ_in_nothing_but_the_encoding() -> None:
    setting = Setting("digits-cnn", None, 6, 2, 3, 9, NAMES, 60.0)
    specs = make_specs(setting)
    assert list(specs) == [spec.encoding for spec in specs.values()] == list(NAMES)
    alike = {name: {**_fields(spec), "encoding": ""} for name, spec in specs.items()}
    assert all(fields == alike["float32"] for fields in alike.values())
    assert make_plan(setting).config.mixing.loop_rate_per_second == 0.0


def _fields(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def test_json_and_picture(peerctl: Any, home: Path, temporary: Path, left_running: Left) -> None:
    plot = home / "made.png"
    rows = peerctl.json(*QUICK, "--encodings", "int8,float32", "--rounds", "2", "--plot", str(plot))
    assert list(rows) == ["float32", "int8"]
    for row in rows.values():
        assert (row["peers"], row["rounds"], row["accuracy"]) == (5, 2, 0.2)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_lines_and_table(peerctl: Any, left_running: Left) -> None:
    result = peerctl(*QUICK, "--encodings", "float32")
    assert result.exit_code == 0, result.output
    for words in ("testbed: 5 of 5 peers see all others", "float32: round 3/3", "on links in"):
        assert words in result.stderr, words
    for words in ("Encoding", "On links", "Accuracy", "there is no cover"):
        assert words in result.stdout, words
    assert left_running() == []


def test_a_failure_is_one_line_and_leaves_nothing(
    peerctl: Any, standin: Any, temporary: Path, left_running: Left
) -> None:
    standin(dora={"fail_run": 1})
    result = peerctl(*QUICK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "peerctl: dora: the run failed: no data left"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


def test_ctrl_c_ends_and_removes_everything(standin: Any, temporary: Path, left_running: Left) -> None:
    code = (
        f"from ctl.testbed import Plan; Plan.make.__func__.__defaults__ = (None, {standin.command!r})\n"
        "from ctl.main import main; main()"
    )
    standin(**{"": {"pace": 3.0}})
    with subprocess.Popen(
        [sys.executable, "-c", code, *QUICK, "--rounds", "50"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "float32: round 1/" in line:
                break
        assert left_running()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "peerctl: interrupted"
    assert left_running() == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, (), "mnist-cnn needs --data-dir DIR with its files"),
        (3, ("--data-dir", "/nowhere"), "--data-dir /nowhere: no such folder"),
        (3, ("--quick", "--plot", "/nowhere/x.png"), "--plot /nowhere/x.png: no such folder"),
        (2, ("--quick", "--encodings", "int8,morse"), "morse; allowed: float32, float16, bfloat16, int8"),
        (2, ("--quick", "--encodings", ","), "nothing; allowed: float32"),
        (2, ("--quick", "--peers", "4"), "hops: 3 mix nodes between two peers need at least 5 peers"),
        (2, ("--task", "chess"), "unknown task 'chess'"),
    ],
)
def test_the_options_are_checked_before_anything_is_started(
    peerctl: Any, temporary: Path, code: int, arguments: tuple[str, ...], says: str
) -> None:
    assert says in peerctl.error(code, "experiment", "encodings", *arguments)
    assert list(temporary.iterdir()) == []
