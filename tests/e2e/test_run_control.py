"""A run's whole life as an operator sees it: ended early, exported, stopped, taken up again, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ctl.client import Client
from peerd.training.tasks import digits_cnn
from peerd.training.tasks.digits import load

ENDED = ("finished", "stopped", "failed")


def accuracy_of(tensors: dict[str, torch.Tensor]) -> float:
    """On all test samples, as somebody would measure it who has the file and the model's code."""
    model = digits_cnn.build()
    model.load_state_dict(tensors)
    model.eval()
    _, test = load()
    prepare = digits_cnn.make().prepare
    with torch.inference_mode():
        output = model(prepare(torch.from_numpy(test.features)))
    return float((output.argmax(1).numpy() == test.labels).mean())


@pytest.mark.timeout(300)
def test_a_run_ends_early_is_exported_taken_up_and_compared(testbed, programs, until, tmp_path: Path) -> None:
    testbed.up(3, "--hops", "1")

    def all_runs(run_id: str | None = None) -> dict[str, Any] | None:
        """All peers' statuses, once the run has ended on all of them."""
        runs = [testbed.call(name, Client.run) for name in testbed.pids()]
        if all(run.state in ENDED and run_id in (None, run.spec.run_id) for run in runs):
            return testbed.ask("--all", "run", "show")
        return None

    # -- it ends on a target
    testbed.ask(
        "--all", "run", "start", "--rounds", 40, "--target-accuracy", 0.9, "--test-samples", 100,
        "--quorum", 1, "--round-timeout", "60s",
    )  # fmt: skip
    first = until(all_runs, 120)
    names = list(first)
    for run in first.values():
        assert (run["state"], run["ended_by"]) == ("finished", "target"), run
        assert 1 <= run["round"] < 40
        assert run["results"][-1]["test_samples"] == 360, "the last model is measured on all"
        assert {result["test_samples"] for result in run["results"][:-1]} <= {100}
    assert len({(run["round"], run["model_digest"]) for run in first.values()}) == 1
    _only_trainers_have_torch(testbed)
    one = first[names[0]]
    events = programs.ok("peerctl", "--testbed", testbed.folder, "--all", "events", "-n", "0")
    assert events.count(f"by target, round {one['round']}") == 3

    # -- its model, without peerd
    at = ("--testbed", testbed.folder, "--context", names[0], "run", "export")
    measured = one["results"][-1]["accuracy"]
    for form, read in (
        ("safetensors", load_file),
        ("torch", lambda path: torch.load(path, weights_only=True)),
    ):
        file = tmp_path / f"model.{form}"
        said = programs.json(*at, "--format", form, "--out", file)
        assert (said["round"], said["sha256"]) == (one["round"], one["model_digest"])
        assert accuracy_of(read(file)) == pytest.approx(measured, abs=1e-6)
    assert "--force overwrites it" in programs.fails(4, "peerctl", *at, "--out", file)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "model"))) == [
        "model.safetensors", "model.torch",
    ]  # fmt: skip

    # -- another one is stopped, and taken up again
    testbed.ask("--all", "run", "start", "--rounds", 1000, "--seed", 5, "--quorum", 1)
    until(lambda: testbed.call(names[0], Client.run).round >= 4)
    testbed.ask("--all", "run", "stop")
    second = until(all_runs, 60)[names[0]]
    kept = testbed.ask("--all", "run", "checkpoints")
    assert all(one["run_id"] for peer in kept.values() for one in peer)
    assert {one["run_id"] for one in kept[names[0]]} == {one["run_id"] for one in kept[names[1]]}
    message = programs.fails(
        3, "peerctl", "--testbed", testbed.folder, "--all", "run", "resume", "--run", "ffff", "--rounds", "3"
    )
    assert "no checkpoint of run ffff" in message
    started = testbed.ask("--all", "run", "resume", "--rounds", 3)
    (run_id,) = {run["spec"]["run_id"] for run in started.values()}
    third = until(lambda: all_runs(run_id), 90)
    for run in third.values():
        assert run["spec"]["initial_run"] == second["spec"]["run_id"]
        assert (run["state"], run["ended_by"], run["round"]) == ("finished", "rounds", 3), run
    begins = third[names[0]]
    from_round = begins["spec"]["initial_round"]
    before = [result["accuracy"] for result in second["results"] if result["round"] == from_round]
    assert begins["results"][0]["accuracy"] > min(0.8, before[0] - 0.1), "not from scratch"
    message = programs.fails(
        2, "peerctl", "--testbed", testbed.folder, "--all", "run", "resume"
    )  # fmt: skip
    assert "all 3 rounds of run" in message and "--rounds N" in message

    # -- side by side
    plot = tmp_path / "runs.png"
    ids = [run["spec"]["run_id"] for run in (one, second, begins)]
    compared = testbed.ask("--context", names[0], "run", "compare", *(one[:8] for one in ids), "--plot", plot)
    assert [run["run_id"] for run in compared] == ids
    assert [run["ended_by"] for run in compared] == ["target", "", "rounds"]
    assert compared[0]["final_accuracy"] == pytest.approx(measured)
    assert compared[0]["bytes_received"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def _only_trainers_have_torch(testbed) -> None:
    """A run has been trained with it, each in a process of its own."""
    for name, pid in testbed.pids().items():
        libraries = Path(f"/proc/{pid}/maps").read_text()
        assert "libcrypto" in libraries or "cryptography" in libraries, name
        assert "torch" not in libraries, name
        assert "sklearn" not in libraries, name
