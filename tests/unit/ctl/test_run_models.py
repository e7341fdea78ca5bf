"""`peerctl run checkpoints|export|resume|compare`: what is asked, made of the answers, and refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors import safe_open

from ctl.defaults import make_spec
from peerd.config import NetworkConfig
from peerd.membership import Authority, run_spec_message
from peerd.pb import gossip_pb2, runs_pb2

OLD, NEW = "ab" * 16, "ac" * 16
VECTOR = np.arange(5, dtype="<f4")


def checkpoint(run_id: str, number: int, accuracy: float = 0.5, *, sha: str = "", **changes: Any) -> Any:
    spec = make_spec("synthetic", run_id=run_id, rounds=9, seed=4, **changes)
    digest = sha or hashlib.sha256(VECTOR.tobytes()).hexdigest()
    return runs_pb2.Checkpoint(
        spec=run_spec_message(spec), round=number, accuracy=accuracy, test_samples=9, parameters=5,
        sha256=digest, bytes=1500,
    )  # fmt: skip


def ended(peer: Any, state: str = "stopped") -> None:
    peer.status.run_state = state


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob: both were in two runs."""
    both = peers.add("alice"), peers.add("bob")
    for peer in both:
        peer.checkpoints = [checkpoint(OLD, 3), checkpoint(NEW, 5, 0.75), checkpoint(NEW, 6, 0.5)]
        peer.checkpoints[1].best = True
        peer.parts = [
            runs_pb2.ExportPart(checkpoint=peer.checkpoints[2]),
            runs_pb2.ExportPart(data=VECTOR.tobytes()[:8]),
            runs_pb2.ExportPart(data=VECTOR.tobytes()[8:]),
        ]
    return both


# -- checkpoints -------------------------------------------------------------------------------------------


def test_checkpoints_of_each_peer(two: Any, peerctl: Any) -> None:
    shown = peerctl.json("--all", "run", "checkpoints", "--run", "ac")
    assert [(one["run_id"], one["task"], one["round"]) for one in shown["bob"]] == [
        (NEW, "synthetic", 5),
        (NEW, "synthetic", 6),
    ]
    lines = [line.split() for line in peerctl("run", "checkpoints").stdout.splitlines()]
    assert ["alice", "acacacac", "synthetic", "5", "0.7500", "best", "1.5", "KiB"] in lines
    two[0].checkpoints = []
    assert "No checkpoints yet." in peerctl("run", "checkpoints").stdout


# -- export ------------------------------------------------------------------------------------------------


def test_a_model_is_written_whole(two: Any, peerctl: Any, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors"
    said = peerctl.json("run", "export", "--run", "ac", "--round", "6", "--out", str(out))
    assert (two[0].exported[0].run_id, two[0].exported[0].round) == ("ac", 6)
    assert (said["run_id"], said["round"], said["format"]) == (NEW, 6, "safetensors")
    assert said["tensors"] == {"vector": [5]}
    with safe_open(out, framework="numpy") as file:
        assert file.get_tensor("vector").tolist() == VECTOR.tolist()
        assert file.metadata()["round"] == "6" and file.metadata()["run_id"] == NEW
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".p", "m"))] == [out.name]

    before = out.read_bytes()
    message = peerctl.error(4, "run", "export", "--out", str(out))
    assert message == f"{out} exists; --force overwrites it"
    assert out.read_bytes() == before and len(two[0].exported) == 1
    result = peerctl("run", "export", "--best", "--out", str(out), "--force")
    assert "round 6 of run acacacac, accuracy 0.5000, 1 tensor, 5 values exchanged" in result.stdout
    assert two[0].exported[1].best


def test_what_goes_wrong_leaves_no_file(two: Any, peerctl: Any, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert "not of torch: export it as safetensors" in peerctl.error(
        2, "run", "export", "--format", "torch", "--out", str(out)
    )
    two[0].parts[1].data = bytes(8)[:7] + b"\x01"
    message = peerctl.error(1, "run", "export", "--out", str(out))
    assert message == "alice: the model is not what was announced: the digest does not match"
    two[0].parts = []
    assert "does not say what it sends" in peerctl.error(1, "run", "export", "--out", str(out))
    assert [path for path in tmp_path.iterdir() if path.name.startswith((".p", "model"))] == []


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, ("--best", "--round", "3", "--out", "x"), "--best and --round do not go together"),
        (2, ("--all", "--out", "x"), "export asks one peer"),
        (3, ("--out", "/nowhere/x"), "/nowhere: no such folder"),
        (2, ("--out", "/"), "/: a folder; name a file in it"),
    ],
)
def test_what_cannot_be_exported(two: Any, peerctl: Any, code: int, arguments: Any, says: str) -> None:
    assert says in peerctl.error(code, "run", "export", *arguments)
    assert two[0].exported == []


# -- resume ------------------------------------------------------------------------------------------------


def test_a_run_that_is_paused_goes_on(two: Any, peerctl: Any) -> None:
    ended(two[0], "paused")
    assert peerctl.json("run", "resume")["state"] == "running"
    assert two[0].started == []


def test_a_run_that_has_ended_is_begun_anew_where_it_was_left(two: Any, peerctl: Any, tmp_path: Path) -> None:
    operator = Authority.create(tmp_path / "lab", NetworkConfig(name="lab")).operator(
        "ops", "admin", tmp_path / "ops"
    )
    for peer in two:
        ended(peer)
    result = peerctl("--all", "run", "resume", "--operator", str(operator))
    assert result.exit_code == 0, result.output
    assert "Begins with round 6 of run acacacac (accuracy 0.5000)." in result.stdout
    (first,), (second,) = (peer.started for peer in two)
    assert first == second
    assert (first.initial_run, first.initial_round) == (NEW, 6)
    assert first.initial_sha256 == two[0].checkpoints[2].sha256
    assert (first.rounds, first.seed, first.task) == (3, 4, "synthetic")
    assert first.run_id not in (OLD, NEW)
    notice = gossip_pb2.RunNotice.FromString(gossip_pb2.SignedRun.FromString(two[0].notices[0]).run)
    assert runs_pb2.RunSpec.FromString(notice.spec) == first


def test_another_run_round_or_number_of_rounds(two: Any, peerctl: Any) -> None:
    for peer in two:
        ended(peer, "finished")
    peerctl.json("--all", "run", "resume", "--best", "--rounds", "7", "--patience", "2")
    peerctl.json("--all", "run", "resume", "--run", "ab", "--round", "3", "--target-accuracy", "0.9")
    first, second = two[1].started
    assert (first.initial_run, first.initial_round, first.rounds, first.patience) == (NEW, 5, 7, 2)
    assert (second.initial_run, second.initial_round, second.rounds) == (OLD, 3, 6)
    assert second.target_accuracy == 0.9


def test_patience_can_be_taken_back(two: Any, peerctl: Any) -> None:
    ended(two[0])
    two[0].checkpoints = [checkpoint(NEW, 5, patience=2, min_improvement=0.1)]
    peerctl.json("run", "resume")
    peerctl.json("run", "resume", "--patience", "0")
    assert [(spec.patience, spec.min_improvement) for spec in two[0].started] == [(2, 0.1), (0, 0.0)]


def test_the_round_that_most_have_is_taken(two: Any, peerctl: Any) -> None:
    for peer in two:
        ended(peer)
    two[0].checkpoints.append(checkpoint(NEW, 7, sha="11" * 32))
    peerctl.json("--all", "run", "resume")
    assert two[0].started[0].initial_round == 6
    two[1].checkpoints.append(checkpoint(NEW, 7, sha="22" * 32))
    peerctl.json("--all", "run", "resume")
    assert two[0].started[1].initial_round == 6, "their sevenths are not the same model"


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (3, ("--run", "ff"), "no checkpoint of run ff"),
        (2, ("--run", "a", "--rounds", "3"), "run a: 2 runs begin so; give more digits"),
        (3, ("--round", "9"), "run acacacac: no checkpoint of round 9; there: 5, 6"),
        (2, ("--best", "--round", "5"), "--best and --round do not go together"),
        (2, ("--min-improvement", "0.1"), "give patience, too"),
    ],
)
def test_what_cannot_be_taken_up(two: Any, peerctl: Any, code: int, arguments: Any, says: str) -> None:
    ended(two[0])
    assert says in peerctl.error(code, "run", "resume", *arguments)
    assert two[0].started == []


def test_of_a_run_whose_rounds_are_all_done_one_says_how_many_more(two: Any, peerctl: Any) -> None:
    ended(two[0], "finished")
    two[0].checkpoints = [checkpoint(NEW, 9)]
    message = peerctl.error(2, "run", "resume")
    assert message == "all 9 rounds of run acacacac are done; say how many more: --rounds N"
    two[0].checkpoints = []
    assert "there are no checkpoints" in peerctl.error(3, "run", "resume")


@pytest.mark.parametrize("named", [[], ["--task", "other:make"]])
def test_code_that_only_the_peer_names_is_not_imported(
    two: Any, peerctl: Any, tmp_path: Path, named: list[str]
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'came')!r}, 'w')")
    two[0].parts[0].checkpoint.spec.task = "evil:make"
    out = tmp_path / "model"
    message = peerctl.error(6, "run", "export", "--out", str(out), "--task-path", str(tmp_path), *named)
    assert "task 'evil:make', which is not shipped" in message and "--task evil:make" in message
    assert not out.exists() and not (tmp_path / "came").exists()


# -- compare -----------------------------------------------------------------------------------------------


def past(run_id: str, *accuracies: float, **changes: Any) -> runs_pb2.RunStatus:
    spec = make_spec("synthetic", run_id=run_id, **changes)
    status = runs_pb2.RunStatus(
        spec=run_spec_message(spec), state="finished", ended_by="patience", payload_bytes=1024
    )
    status.spec.encoding = spec.encoding
    status.spec.aggregator = spec.aggregator
    for number, accuracy in enumerate(accuracies, 1):
        status.results.add(
            round=number, accuracy=accuracy, test_samples=9, round_seconds=2.0, fragments_received=10
        )
    return status


def test_runs_side_by_side(two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # columns that can be spared are left out of a narrow one
    two[0].past = {OLD: past(OLD, 0.25, 0.75, 0.5), NEW: past(NEW, 0.5, encoding="int8")}
    compared = peerctl.json("run", "compare", "abab", NEW)
    first, second = compared
    assert (first["run_id"], first["encoding"], second["encoding"]) == (OLD, "float32", "int8")
    assert (first["best_accuracy"], first["best_round"], first["final_accuracy"]) == (0.75, 2, 0.5)
    assert (first["rounds"], first["seconds_per_round"], first["bytes_received"]) == (3, 2.0, 30 * 1024)
    assert first["accuracy"] == [[1, 0.25], [2, 0.75], [3, 0.5]]
    lines = [line.split() for line in peerctl("run", "compare", "abab", NEW).stdout.splitlines()]
    assert ["2", "0.7500", "-"] in lines
    assert any(line[:5] == ["acacacac", "synthetic", "int8", "mean", "1"] for line in lines)


def test_runs_of_files_and_of_several_peers(two: Any, peerctl: Any, tmp_path: Path) -> None:
    for peer, accuracy in zip(two, (0.25, 0.75), strict=True):
        peer.run.CopyFrom(past(OLD, accuracy))
        peer.past = {OLD: peer.run}
    one, both, plot = tmp_path / "one.json", tmp_path / "both.json", tmp_path / "plot.png"
    one.write_text(peerctl("run", "show", "-o", "json").stdout)
    both.write_text(peerctl("--all", "run", "show", "-o", "json").stdout)
    compared = peerctl.json("run", "compare", str(one), str(both), "--plot", str(plot))
    assert [run["name"] for run in compared] == ["one", "both:alice", "both:bob"]
    assert [run["best_accuracy"] for run in compared] == [0.25, 0.25, 0.75]
    assert plot.read_bytes().startswith(b"\x89PNG")
    named = peerctl.json("--all", "run", "compare", "abab")
    assert [run["name"] for run in named] == ["abababab alice", "abababab bob"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", '{"spec": 7}', '{"spec": {"run_id": "x"}}', '{"alice": []}', "\x00",
     '{"spec": {"run_id": "x", "task": "y"}, "results": [{"round": "1"}]}'],
)  # fmt: skip
def test_other_files_are_one_line(two: Any, peerctl: Any, tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.json"
    file.write_text(text)
    assert f"{file}: not what `peerctl run show --output json` writes" in peerctl.error(
        2, "run", "compare", str(file)
    )


def test_what_is_neither_a_file_nor_a_run(two: Any, peerctl: Any) -> None:
    assert "no such file, and no run id" in peerctl.error(3, "run", "compare", "nothing.json")
    assert "alice: run ffff: this peer took part in no such run" in peerctl.error(3, "run", "compare", "ffff")
    assert "no such folder" in peerctl.error(3, "run", "compare", "ffff", "--plot", "/nowhere/x.png")


def test_a_run_that_has_not_been_measured_yet(two: Any, peerctl: Any) -> None:
    two[0].past = {OLD: past(OLD)}
    (run,) = peerctl.json("run", "compare", OLD)
    assert (run["rounds"], run["best_accuracy"], run["final_accuracy"], run["accuracy"]) == (
        0,
        None,
        None,
        [],
    )
    assert "abababab" in peerctl("run", "compare", OLD).stdout
    assert json.dumps(msgspec.to_builtins(run))


# -- how a run ends ----------------------------------------------------------------------------------------


def test_early_ends_are_asked_for_and_shown(two: Any, peerctl: Any) -> None:
    peerctl.json("run", "start", "--patience", "3", "--min-improvement", "0.01", "--target-accuracy", "0.9")
    (spec,) = two[0].started
    assert (spec.patience, spec.min_improvement, spec.target_accuracy) == (3, 0.01, 0.9)
    two[0].run.state, two[0].run.ended_by = "finished", "target"
    assert peerctl.json("run", "show")["ended_by"] == "target"
    assert "finished by target" in peerctl("run", "show").stdout
    two[0].run.ended_by = "rounds"
    assert "finished by" not in peerctl("run", "show").stdout
    assert "patience: Expected `int` <= 1000" in peerctl.error(2, "run", "start", "--patience", "1001")


def test_a_peer_that_knows_no_such_run_is_told_of(two: Any, peerctl: Any) -> None:
    two[0].past = {OLD: past(OLD, 0.25)}
    result = peerctl("--all", "run", "compare", "abab")
    assert result.exit_code == 3
    assert "abababab" in result.stdout
    assert "bob: run abab: this peer took part in no such run" in result.stderr
