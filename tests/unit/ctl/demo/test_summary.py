"""The demo's JSON from statuses whose sums one can do by hand."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ctl import render
from ctl.demo import Agreement, summarise
from ctl.demo.summary import quantile
from ctl.demo.tables import final
from peerd.errors import PeerdError
from peerd.pb import node_pb2, runs_pb2

KEYS = {
    "peers": None,
    "rounds": None,
    "hops": None,
    "task": None,
    "strategy": None,
    "wall_seconds": None,
    "round_seconds": {"mean", "max"},
    "exchange_seconds": {"mean", "max"},
    "accuracy": {"per_round", "final_mean", "final_min"},
    "model": {"parameters", "bytes", "fragments"},
    "packets": {"sent", "forwarded", "acks", "cover", "resent", "gave_up", "dropped"},
    "bytes_on_links": None,
    "rtt_seconds": {"p50", "p95"},
    "cpu_seconds": {"daemon", "trainer"},
    "rss_bytes": {"daemon_max", "trainer_max"},
}
"""The issue's own list."""
EXTRA = {"peers_detail", "model_agreement", "train_samples", "test_samples", "seconds", "notes"}


def node(index: int) -> node_pb2.NodeStatus:
    packets = {"own": 10 * index, "ack": 7, "loop": 1, "drop": 2, "dummy": 4, "forwarded": 100}
    return node_pb2.NodeStatus(
        strategy="exponential",
        hops=3,
        traffic=node_pb2.TrafficStatus(
            packets=packets,
            dropped={"replay": index, "bad_mac": 0},
            resent=1,
            gave_up=index - 1,
            bytes_sent=1000 * index,
            rtt_samples=[0.1 * index, 0.1 * index + 0.05],
        ),
        trainer=node_pb2.TrainerStatus(cpu_seconds=2.0, rss_bytes=50 * index),
        cpu_seconds=1.5,
        rss_bytes=10 * index,
    )


def run(index: int, **spec: Any) -> runs_pb2.RunStatus:
    results = [
        runs_pb2.RoundResult(
            round=number,
            accuracy=0.5 + 0.1 * number + 0.01 * index,
            accuracy_local=0.5,
            exchange_seconds=float(index),
            round_seconds=2.0 * number,
            train_samples=20,
            test_samples=30,
            closed_by="complete" if index == 1 else "grace",
        )
        for number in (1, 2)
    ]
    return runs_pb2.RunStatus(
        spec=runs_pb2.RunSpec(task="digits-cnn", rounds=2, **spec),
        state="finished",
        round=2,
        parameters=100,
        fragments=4,
        results=results,
    )


def summary(**spec: Any) -> dict[str, Any]:
    return summarise(
        {"alice": node(1), "bob": node(2)},
        {"alice": run(1, **spec), "bob": run(2, **spec)},
        Agreement(0.0, identical=True),
        {"start": 1.0, "run": 4.5},
    )


def test_exactly_the_keys_that_are_promised() -> None:
    made = summary()
    assert set(made) == set(KEYS) | EXTRA
    for key, inner in KEYS.items():
        if inner is not None:
            assert set(made[key]) == inner, key
    assert set(made["model_agreement"]) == {"max_difference", "identical"}
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_the_figures() -> None:
    made = summary()
    assert (made["peers"], made["rounds"], made["hops"], made["task"]) == (2, 2, 3, "digits-cnn")
    assert made["wall_seconds"] == 5.5
    assert made["round_seconds"] == {"mean": 3.0, "max": 4.0}
    assert made["exchange_seconds"] == {"mean": 1.5, "max": 2.0}
    assert made["accuracy"] == {"per_round": [0.615, 0.715], "final_mean": 0.715, "final_min": 0.71}
    assert made["model"] == {"parameters": 100, "bytes": 400, "fragments": 4}
    assert made["packets"] == {
        "sent": 30,
        "forwarded": 200,
        "acks": 14,
        "cover": 14,
        "resent": 2,
        "gave_up": 1,
        "dropped": {"replay": 3},
    }
    assert made["bytes_on_links"] == 3000
    assert made["rtt_seconds"] == {"p50": 0.175, "p95": 0.2425}
    assert made["cpu_seconds"] == {"daemon": 3.0, "trainer": 4.0}
    assert made["rss_bytes"] == {"daemon_max": 20, "trainer_max": 100}
    assert (made["train_samples"], made["test_samples"]) == (20, 30)
    assert [peer["name"] for peer in made["peers_detail"]] == ["alice", "bob"]


def test_notes_say_what_a_reader_should_know() -> None:
    assert summary()["notes"] == ["2 of 4 rounds on single peers closed by grace"]
    notes = summary(samples_per_round=9, test_samples=5, partition="dirichlet", alpha=0.5)["notes"]
    assert notes[0] == "in each round every peer trains on 20 samples, drawn anew from its own shard"
    assert "5 test samples, in the last round on all" in notes[1]
    assert "Dirichlet(0.5)" in notes[2]


def test_a_model_that_is_not_a_number_is_not_called_zero() -> None:
    nan = Agreement(float("nan"), identical=False)
    made = summarise({"alice": node(1)}, {"alice": run(1)}, nan, {"run": 1.0})
    assert made["model_agreement"] == {"max_difference": None, "identical": False}
    json.dumps(made, allow_nan=False)


def test_without_results_there_is_no_summary() -> None:
    with pytest.raises(PeerdError, match="no peer reports a closed round"):
        summarise({}, {"a": runs_pb2.RunStatus()}, Agreement(0.0, identical=True), {})


@pytest.mark.parametrize(("columns", "last"), [(100, "Trainer mem."), (80, "Trainer mem."), (65, "Memory")])
def test_the_peers_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, last: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    render.show(final(summary(), [run(1), run(2)]))
    lines = capsys.readouterr().out.splitlines()
    peers = lines[lines.index("Peers") + 1 :]
    assert peers[0].endswith(last)
    assert max(map(len, lines)) <= max(columns, 80), lines
    assert max(len(line) for line in peers[:4]) <= columns


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted),
    st.floats(0, 1),
)
def test_quantiles_are_numpys(samples: list[float], share: float) -> None:
    import numpy as np

    assert quantile(samples, share) == pytest.approx(float(np.quantile(samples, share)), abs=1e-9)


def test_no_samples_no_quantile() -> None:
    assert quantile([], 0.5) == 0.0


def test_the_tables_show_it() -> None:
    console = Console(file=StringIO(), width=200)
    console.print(final(summary(), [run(1), run(2)]))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    for part in ("0.7150", "bit for bit the same", "30, of them 2 resent", "replay 3", "5.5 s: start 1.0 s",
                 "Note: 2 of 4 rounds"):  # fmt: skip
        assert part in text
