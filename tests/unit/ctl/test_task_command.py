"""`peerctl task`, with its real child process, and `peerctl run start` with the options of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctl import partition, tasks
from ctl.contexts import Contexts
from peerd.errors import PeerdError
from peerd.types import SHIPPED_TASKS

MINE = """
from peerd.training.tasks.synthetic import make as synthetic
print("what a task prints is no part of the answer")

def make(parameters: int = 5):
    "Mine."
    return synthetic(parameters)

def broken():
    raise ValueError("no luck")
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def test_all_shipped_tasks_are_listed(peerctl: Any) -> None:
    listed = peerctl.json("task", "list")
    assert {one["name"] for one in listed if one["kind"] == "shipped"} == set(SHIPPED_TASKS)
    assert all(one["summary"].endswith(".") for one in listed if one["kind"] == "shipped")
    assert "digits-mlp" in peerctl("task", "list").stdout


def test_a_task_says_what_it_is(peerctl: Any) -> None:
    found = peerctl.json("task", "show", "synthetic", "-O", "parameters=123", "-O", "samples=50")
    assert (found["parameters"], found["classes"], found["train_samples"]) == (123, 10, 50)
    assert found["options"]["parameters"] == 10_000 and found["packages"] == []
    text = peerctl("task", "show", "mnist-cnn").stdout
    assert "mnist-cnn needs its data folder: pass --data-dir DIR" in text


def test_a_task_of_ones_own(peerctl: Any, mine: Path) -> None:
    found = peerctl.json("task", "show", "mine:make", "--task-path", str(mine), "-O", "parameters=7")
    assert (found["kind"], found["summary"], found["parameters"]) == ("own code", "Mine.", 7)
    assert "its factory: ValueError: no luck" in peerctl.error(
        2, "task", "show", "mine:broken", "--task-path", str(mine)
    )
    assert "No module named 'mine'" in peerctl.error(2, "task", "show", "mine:make", "--task-path", "/")


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, ["show", "chess"], "unknown task 'chess'; known: digits-cnn, "),
        (2, ["show", "synthetic", "-O", "size=3"], "has no option 'size'; its options: noise, parameters"),
        (2, ["show", "synthetic", "-O", "parameters=many"], "'many' is not a whole number"),
        (2, ["show", "synthetic", "-O", "parameters"], "'parameters' is not NAME=VALUE"),
        (3, ["partition", "mnist-cnn"], "mnist-cnn needs its data folder"),
        (2, ["partition", "synthetic", "--alpha", "0"], "run: alpha: Expected"),
        (2, ["partition", "synthetic", "--peers", "0"], "0 is not in the range"),
        (
            2,
            ["partition", "synthetic", "-O", "samples=3", "--peers", "4"],
            "3 samples cannot be divided among 4",
        ),
        (3, ["partition", "synthetic", "--plot", "/nowhere/x.png"], "--plot /nowhere/x.png: no such folder"),
    ],
)
def test_mistakes_are_one_line(peerctl: Any, code: int, arguments: list[str], says: str) -> None:
    assert says in peerctl.error(code, "task", *arguments)


def test_a_partition_is_shown_and_drawn(peerctl: Any, tmp_path: Path) -> None:
    picture = tmp_path / "parts.png"
    common = ("task", "partition", "synthetic", "-O", "samples=1000", "--peers", "5", "--partition", "shards")
    found = peerctl.json(*common, "--plot", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert found["files"] == [str(picture)]
    assert [shard["samples"] for shard in found["shards"]] == [200] * 5
    assert all(sum(map(bool, shard["by_class"])) == 2 for shard in found["shards"])
    assert found == peerctl.json(*common, "--plot", str(picture))
    assert "1000 training samples, 100 test samples" in peerctl(*common).stdout


def test_many_classes_are_counted_and_none_are_left_out(tmp_path: Path) -> None:
    base = {"task": "x", "partition": "iid", "seed": 0}
    many = base | {"classes": 30, "shards": [{"samples": 3, "by_class": [1] * 3 + [0] * 27}]}
    none = base | {"classes": 0, "shards": [{"samples": 3, "by_class": []}]}
    assert [column.header for column in partition.table(many).columns] == ["Shard", "Samples", "Classes"]
    assert [column.header for column in partition.table(none).columns] == ["Shard", "Samples"]
    for divided in (many, none):
        partition.draw(divided, tmp_path / "x.png")


def test_a_child_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "COMMAND", (tasks.sys.executable, "-c", "import sys; sys.exit('no torch')"))
    with pytest.raises(PeerdError, match="no answer: no torch"):
        tasks.list_tasks()


def test_a_run_is_started_with_them(peers: Any, peerctl: Any) -> None:
    alice = peers.add("alice")
    assert Contexts.load(peers.contexts.path)
    peerctl.json(
        "run", "start", "--task", "mine:make", "-O", "hidden-units=7", "--partition", "shards",
        "--classes-per-peer", "3", "--schedule", "step", "--decay", "0.1", "--decay-rounds", "4",
        "--local-batches", "9", "--evaluation", "holdout", "--holdout", "0.3",
    )  # fmt: skip
    (spec,) = alice.started
    assert (spec.task, dict(spec.task_options)) == ("mine:make", {"hidden_units": "7"})
    assert (spec.partition, spec.classes_per_peer, spec.schedule) == ("shards", 3, "step")
    assert (spec.decay, spec.decay_rounds, spec.local_batches) == (0.1, 4, 9)
    assert (spec.evaluation, spec.holdout) == ("holdout", 0.3)
