"""What a run costs on the wire in each encoding, with real daemons."""

from __future__ import annotations

import psutil
import pytest

KEYS = {
    "bytes_on_links", "ratio", "accuracy", "accuracy_less", "bytes_beside", "bytes_all", "ratio_with_beside",
    "packets", "messages", "cover", "cell_bytes", "resent", "gave_up", "fragments", "parameters",
    "accuracy_min", "accuracy_per_round", "rounds", "peers", "hops", "cohort_min", "closed_by", "models",
    "seconds", "exchange_seconds", "task", "partition", "seed", "train_samples", "test_samples",
}  # fmt: skip
NAMES = ["float32", "float16", "bfloat16", "int8", "top-k", "random-mask"]
POINT = 0.01


def check(report, peers: int = 6) -> None:
    """What every size of it must show."""
    for name, row in report.items():
        assert row.keys() == KEYS
        assert (row["task"], row["partition"]) == ("digits-cnn", "iid")
        assert (row["peers"], row["rounds"], row["cohort_min"], row["models"]) == (peers, 3, peers, 1)
        assert len(row["accuracy_per_round"]) == 3
        assert row["cover"] == row["gave_up"] == 0
        assert row["bytes_on_links"] == row["packets"] * row["cell_bytes"]
        assert row["bytes_all"] == row["bytes_on_links"] + row["bytes_beside"]
        # Every message visits three mix nodes, and so does its acknowledgement; resends may have been lost.
        assert 8 * (row["messages"] - row["resent"]) <= row["packets"] <= 8 * row["messages"]
        assert abs(row["accuracy_less"]) <= (2 * POINT if name == "random-mask" else POINT)
    updates = 3 * peers * (peers - 1)  # each round, from each to all others
    for name in {"float32", "int8"} & set(report):  # the others send slices of the model, too
        assert report[name]["messages"] - report[name]["resent"] <= updates * report[name]["fragments"]
        assert report[name]["messages"] >= updates * report[name]["fragments"]
    assert report["float32"]["ratio"] == 1.0
    # Of so small a model a packet of three has its statistics, and the one slice against drift weighs.
    assert report["top-k"]["ratio"] > 2.3


def left(folder) -> list[str]:
    """Command lines of processes that name the folder."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


@pytest.mark.timeout(180)
def test_fewer_bits_are_fewer_bytes_on_links(programs):
    programs.environment["TMPDIR"] = str(programs.home)
    plot = programs.home / "made.png"
    report = programs.json(
        "experiment", "encodings", "--quick", "--encodings", "float32,top-k", "--peers", "5", "--plot", plot,
        timeout=170,
    )  # fmt: skip
    assert list(report) == ["float32", "top-k"]
    check(report, 5)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert left(programs.home) == []
    assert list(programs.home.glob("peerd-*")) == []


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_all_encodings(programs):
    report = programs.json("experiment", "encodings", "--quick", timeout=390)
    assert list(report) == NAMES
    check(report)
    assert report["int8"]["ratio"] > 1.9
    assert 1.9 < report["float16"]["ratio"] < 2.1
    assert report["random-mask"]["ratio"] > 2.3
