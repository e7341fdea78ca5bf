"""`peerctl experiment poison` over stand-in daemons, and its figures from made-up counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.experiment.poison import report
from ctl.experiment.poison.run import AGGREGATORS, ATTACKS, TASK, Setting, make_plan, make_specs
from ctl.experiment.series import Measured, Traffic
from peerd.errors import InvalidInputError
from peerd.pb import runs_pb2
from peerd.training.poisoned import ATTACKS as KNOWN

Left = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def temporary(home: Path, standin: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the experiment makes its folder."""
    standin.use_for_peerctl()
    folder = home / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def setting(**changes: Any) -> Setting:
    fields: dict[str, Any] = {
        "task": "digits-cnn", "data_dir": None, "peers": 6, "poisoners": 1, "scale": 5.0, "rounds": 3,
        "hops": 3, "seed": 1, "aggregators": AGGREGATORS, "attacks": ATTACKS, "patience": 60.0,
    }  # fmt: skip
    return Setting(**fields | changes)


def measured(accuracy: float, **dropped: int) -> Measured:
    run = runs_pb2.RunStatus(spec=runs_pb2.RunSpec(task=TASK, rounds=1), model_digest="x")
    run.results.add(round=1, accuracy=accuracy, test_samples=7, cohort=1, closed_by="complete")
    return Measured({"a": run}, Traffic(Counter(), 0, 100, 0, 0, Counter(dropped)), 2.0)


def test_rows_are_compared_with_the_clean_mean() -> None:
    rows = report.whole(
        {
            ("mean", "none"): measured(0.9),
            ("mean", "noise"): measured(0.4, not_finite=3, duplicate=8),
            ("median", "noise"): measured(0.89),
        }
    )
    assert rows["mean"]["noise"]["accuracy_less"] == pytest.approx(0.5)
    assert rows["median"]["noise"]["accuracy_less"] == pytest.approx(0.01)
    assert rows["mean"]["noise"]["refused"] == {"not_finite": 3}
    assert report.whole({("median", "none"): measured(0.9)})["median"]["none"]["accuracy_less"] is None


def test_the_attacks_are_those_of_the_task() -> None:
    assert ATTACKS == KNOWN
    assert make_plan(setting()).config.training.tasks == (TASK,)


@pytest.mark.parametrize(("peers", "poisoners"), [(6, 1), (6, 2), (5, 2), (9, 4), (30, 7), (256, 127)])
def test_who_reckons_with_false_ones_reckons_with_all_of_them(peers: int, poisoners: int) -> None:
    specs = make_specs(setting(peers=peers, poisoners=poisoners))
    assert list(specs) == [(aggregator, attack) for aggregator in AGGREGATORS for attack in ATTACKS]
    for (aggregator, attack), spec in specs.items():
        assert (spec.aggregator, spec.task_options["attack"]) == (aggregator, attack)
        assert int(spec.trim * peers) == poisoners
        assert spec.local_epochs == 5


@pytest.mark.parametrize("changes", [{"poisoners": 0}, {"poisoners": 3}, {"task": "chess"}])
def test_what_cannot_be_withstood_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        make_specs(setting(**changes))


def test_json_and_table(peerctl: Any, temporary: Path, left_running: Left) -> None:
    command = ("experiment", "poison", "--peers", "5", "--rounds", "2", "--aggregators", "krum,mean")
    rows = peerctl.json(*command, "--attacks", "none,noise")
    assert {name: list(row) for name, row in rows.items()} == {
        "mean": ["none", "noise"], "krum": ["none", "noise"],
    }  # fmt: skip
    assert rows["krum"]["noise"]["accuracy"] == 0.2
    result = peerctl(*command, "--attacks", "noise")
    assert "mean, noise: round 2/2" in result.stderr
    assert "Accuracy after 2 rounds" in result.stdout
    assert left_running() == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--aggregators", "oracle"), "oracle; allowed: mean, median, trimmed-mean, clipped-mean, krum"),
        (("--attacks", "flattery"), "flattery; allowed: none, sign-flip, noise"),
        (("--poisoners", "3"), "--poisoners 3: at least one and fewer than half of 6 peers"),
        (("--task", "mnist-cnn"), "mnist-cnn needs --data-dir DIR with its files"),
        (("--task", "my:task"), "--task 'my:task': allowed: digits-cnn, mnist-cnn"),
    ],
)
def test_the_options_are_checked_before_anything_is_started(
    peerctl: Any, temporary: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert says in peerctl.error(2, "experiment", "poison", *arguments)
    assert list(temporary.iterdir()) == []
