"""`peerctl experiment linking`, with learners of plain NumPy behind it."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ctl.cli import cli
from ctl.experiment import plot
from ctl.linking import rows
from peerd.errors import InvalidInputError

SMALL = (
    "experiment", "linking", "--task", "synthetic", "--peers", "5", "--rounds", "2", "--seeds", "2",
    "--shadows", "3", "--body-bytes", "8192",
)  # fmt: skip


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
    picture = tmp_path_factory.mktemp("linking") / "made.png"
    result = peerctl(
        *SMALL, "--sent", "share1,share0.5,int8,top-k", "--partitions", "iid,quantity0.5",
        "--plot", str(picture), "--output", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), picture


def test_json(made: tuple[dict[str, Any], Path]) -> None:
    data, _ = made
    assert (data["peers"], data["rounds"], data["seeds"]) == (5, 2, [1, 2])
    assert [(row["partition"], row["sent"]) for row in data["rows"]] == [
        (partition, sent)
        for partition in ("iid", "quantity0.5")
        for sent in ("share1", "share0.5", "int8", "top-k")
    ]
    for row in data["rows"]:
        figures = row["figures"]
        share = row["spec"].get("share", 1.0)
        assert figures["held.update"]["mean"] == pytest.approx(share, abs=0.01)
        assert figures["assembled.most"]["mean"] <= figures["held.most"]["mean"] + 1e-9
        for one in figures.values():
            assert one["low"] <= one["mean"] <= one["high"]
    assert data["rows"][1]["spec"] == {"partition": "iid", "share": 0.5}
    assert data["rows"][4]["spec"] == {"partition": "quantity", "alpha": 0.5, "share": 1.0}
    assert any(note.startswith("iid, share0.5 (share1): ") for note in data["notes"])


def test_picture(made: tuple[dict[str, Any], Path]) -> None:
    data, picture = made
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert data["files"] == [str(picture)]


def test_the_same_seed_gives_the_same_figures(made: tuple[dict[str, Any], Path]) -> None:
    chosen = ("--sent", "share0.5", "--partitions", "iid", "--output", "json")
    again = json.loads(peerctl(*SMALL, *chosen).stdout)
    assert again["rows"][0] == made[0]["rows"][1]
    other = json.loads(peerctl(*SMALL, *chosen, "--seed", "7").stdout)
    assert other["rows"][0]["figures"] != again["rows"][0]["figures"]


def test_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # columns that can be spared are left out of a narrow one
    result = peerctl(*SMALL, "--sent", "random2", "--partitions", "iid", "--seeds", "1")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if line.startswith("iid"))
    assert line.split()[1:4] == ["random2", "6", "0.500"]
    assert "[1/1] iid random2: holds 0.50" in result.stderr


def test_errors() -> None:
    assert "'half' is none of shareN" in error(2, *SMALL, "--sent", "share1,half")
    assert "'x' is no number" in error(2, *SMALL, "--sent", "sharex")
    assert "'round' begins with none of: iid" in error(2, *SMALL, "--partitions", "round")
    assert "share: " in error(2, *SMALL, "--sent", "share2")
    assert "every peer averages other fragments" in error(2, *SMALL, "--sent", "share0.5+top-k")
    assert "--sent: at least one name" in error(2, *SMALL, "--sent", ",")
    assert "--body-bytes: " in error(2, *SMALL, "--body-bytes", "100")
    assert "unknown task 'dig'" in error(2, *SMALL, "--task", "dig")
    assert "no such folder" in error(3, *SMALL, "--plot", "/no/such/folder/a.png")


def test_matplotlib_is_asked_for_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plot, "find_spec", lambda name: None if name == "matplotlib" else util.find_spec(name)
    )
    assert "leave out --plot" in error(3, *SMALL, "--plot", "a.png")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("share1", {"share": 1.0}),
        ("random4", {"dissemination": "random-k", "fanout": 4}),
        ("share0.25+int8", {"share": 0.25, "encoding": "int8"}),
        ("bfloat16+delta", {"encoding": "bfloat16", "delta": True}),
    ],
)
def test_names_of_rows(name: str, changes: dict[str, Any]) -> None:
    frame = rows.Frame("digits-cnn", "", 5, 2, 1, 1, 8192, 4)
    (row,) = rows.make_rows(["dirichlet0.1"], [name], frame)
    assert row.changes == {"partition": "dirichlet", "alpha": 0.1, **changes}
    assert row.spec(frame, 3).seed == 3


def test_the_rows_by_default_exist() -> None:
    frame = rows.Frame("digits-cnn", "", 5, 2, 1, 1, 8192, 4)
    assert len(rows.make_rows(rows.PARTITIONS, rows.FULL, frame)) == len(rows.PARTITIONS) * len(rows.FULL)
    assert set(rows.QUICK) <= set(rows.FULL) and set(rows.QUICK_PARTITIONS) <= set(rows.PARTITIONS)
    with pytest.raises(InvalidInputError, match=r"'iid0\.5' begins with none"):
        rows.make_rows(["iid0.5"], ["share1"], frame)


def test_who_receives_nothing_has_nothing_to_link() -> None:
    """One fragment is an update here, and goes to one of three."""
    result = peerctl(
        "experiment", "linking", "--task", "synthetic", "--peers", "4", "--rounds", "2", "--seeds", "3",
        "--shadows", "2", "--body-bytes", "65536", "--sent", "random1", "--partitions", "iid", "-o", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert row["fragments"] == 1
    assert row["figures"]["held.update"]["mean"] == pytest.approx(1 / 3)
    assert "shadows.right" not in row["figures"]  # no other index
