"""`peerctl experiment attack`, with the simulator behind it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctl.cli import cli
from ctl.experiment import plot, rows
from peerd.errors import InvalidInputError

SMALL = ("experiment", "attack", "--peers", "6", "--rounds", "1", "--fragments", "2", "--hops", "2")


def peerctl(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="peerctl")


def error(code: int, *arguments: str) -> str:
    result = peerctl(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    picture = tmp_path_factory.mktemp("attack") / "made.png"
    names = "none,exponential-200ms-send50"
    result = peerctl(*SMALL, "--strategies", names, "--plot", str(picture), "--output", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), picture


def test_json(made: tuple[dict[str, Any], Path]) -> None:
    data, _ = made
    assert data["peers"] == 6
    assert data["chance"] == pytest.approx(0.2)
    assert list(data["strategies"]) == ["none", "exponential-200ms-send50"]
    for row in data["strategies"].values():
        assert row["challenges"] >= 60
        assert row["guess_interval"][0] <= row["guess_rate"] <= row["guess_interval"][1]
        assert row["ideal_bits"] == pytest.approx(2.3219, abs=1e-3)
        assert 0.0 <= row["entropy_bits"] <= row["ideal_bits"]
        assert 0.0 <= row["corrupt"]["entropy_bits"] <= row["corrupt"]["ideal_bits"]
        assert 0.0 <= row["meter_bits"] <= data["reachable_bits"] + 1e-9
        assert row["corrupt"]["nodes"] == 1
        assert row["linked"]["2"]["groups"] > 0
        assert row["linked"]["20"] is None
        rivals = [row, row["message_only"], row["counting"], row["echo"]]
        assert row["strongest"]["guess_rate"] == max(one["guess_rate"] for one in rivals)
        assert {"message_only", "counting", "latency_median_seconds", "meter_bits"} <= set(row)


def test_mixing_makes_the_difference(made: tuple[dict[str, Any], Path]) -> None:
    none, mixed = made[0]["strategies"].values()
    assert none["guess_rate"] > 0.95
    assert none["entropy_bits"] < 0.2
    assert none["meter_bits"] == 0.0
    assert mixed["guess_rate"] < 0.5
    assert mixed["surprise_bits"] > 1.6
    assert mixed["entropy_bits"] > 1.6
    assert mixed["latency_median_seconds"] > none["latency_median_seconds"] + 0.2


def test_picture_and_csv(made: tuple[dict[str, Any], Path]) -> None:
    data, picture = made
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = picture.with_suffix(".csv")
    assert data["files"] == [str(picture), str(table)]
    with table.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["strategy"] for row in read] == list(data["strategies"])
    assert float(read[0]["guess_rate"]) == data["strategies"]["none"]["guess_rate"]
    assert float(read[1]["corrupt.entropy_bits"]) > 0.0


def test_the_same_seed_gives_the_same_figures(made: tuple[dict[str, Any], Path]) -> None:
    again = peerctl(*SMALL, "--strategies", "none", "--no-plot", "--output", "json")
    assert json.loads(again.stdout)["strategies"]["none"] == made[0]["strategies"]["none"]
    other = peerctl(*SMALL, "--strategies", "none", "--no-plot", "--seed", "2", "--output", "json")
    assert json.loads(other.stdout)["strategies"]["none"] != made[0]["strategies"]["none"]


def test_table_and_direct_mode() -> None:
    result = peerctl(*SMALL, "--strategies", "direct", "--no-plot", "--corrupt", "0")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if line.startswith("direct"))
    assert line.split()[1] == "1.000"
    assert "[1/1] direct" in result.stderr


def test_errors() -> None:
    assert "'strongest' begins with none of: none, " in error(2, *SMALL, "--strategies", "strongest")
    assert "'fast2' begins" in error(2, *SMALL, "--strategies", "none,fast2")
    assert "'quick' is no parameter of exponential" in error(2, *SMALL, "--strategies", "exponential-quick")
    assert "at least one name" in error(2, *SMALL, "--strategies", ",")
    assert "need at least 6 peers, not 5" in error(2, "experiment", "attack", "--peers", "5", "--hops", "4")
    assert "fewer than 3 honest" in error(2, *SMALL, "--corrupt", "0.9")
    assert "the model decides" in error(2, *SMALL, "--testbed")
    assert "no such folder" in error(3, *SMALL, "--plot", "/no/such/folder/a.png")


def test_matplotlib_is_asked_for_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plot, "find_spec", lambda name: None if name == "matplotlib" else util.find_spec(name)
    )
    assert "pip install 'peerd[experiment]'" in error(3, *SMALL)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("exponential", {"strategy": "exponential", "hops": 2}),
        ("exponential-200ms-send20", {"mean_delay_seconds": 0.2, "send_rate_per_second": 20.0}),
        ("threshold-32", {"strategy": "threshold", "threshold_size": 32}),
        ("timed-1s", {"timed_interval_seconds": 1.0}),
        ("pool-300ms-drop0", {"pool_interval_seconds": 0.3, "drop_rate_per_second": 0.0}),
        ("outbox-5ms", {"outbox_interval_seconds": 0.005, "outbox_jitter_seconds": 0.0025}),
        ("direct", {"direct": True}),
    ],
)
def test_names_of_rows(name: str, fields: Mapping[str, Any]) -> None:
    made = rows.make_row(name, hops=2)
    assert {key: getattr(made, key) for key in fields} == fields


@pytest.mark.parametrize("names", [rows.QUICK, rows.FULL])
def test_the_rows_by_default_exist(names: tuple[str, ...]) -> None:
    assert len({rows.make_row(name, 3) for name in names}) == len(names)


def test_bad_values_name_the_row() -> None:
    with pytest.raises(InvalidInputError, match="threshold-1: threshold_size"):
        rows.make_row("threshold-1", 3)
