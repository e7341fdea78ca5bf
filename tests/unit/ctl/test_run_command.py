"""`peerctl run` with and without an operator: who is sent what, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest

from ctl.contexts import Contexts
from ctl.defaults import make_spec
from peerd.config import NetworkConfig
from peerd.membership import Authority
from peerd.pb import gossip_pb2, runs_pb2


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob."""
    return peers.add("alice"), peers.add("bob")


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path / "lab", NetworkConfig(name="lab"))
    return authority.operator("ops", "admin", tmp_path / "ops")


def notice_in(data: bytes) -> gossip_pb2.RunNotice:
    return gossip_pb2.RunNotice.FromString(gossip_pb2.SignedRun.FromString(data).run)


def test_with_an_operator_all_that_are_named_get_the_same_notice(
    two: Any, peerctl: Any, operator: Path
) -> None:
    shown = peerctl.json("--all", "run", "start", "--rounds", "7", "--operator", str(operator))
    assert set(shown) == {"alice", "bob"}
    (first,), (second,) = (peer.notices for peer in two)
    assert first == second
    notice = notice_in(first)
    assert (notice.network, notice.stopped, notice.join_seconds) == ("lab", False, 15.0)
    assert runs_pb2.RunSpec.FromString(notice.spec) == two[0].started[0]
    assert notice.issued_at_ms > 1_700_000_000_000


def test_the_window_to_join_and_the_rules_for_stale_fragments(two: Any, peerctl: Any, operator: Path) -> None:
    result = peerctl(
        "run", "start", "--operator", str(operator), "--join-window", "1m",
        "--stale", "use", "--stale-rounds", "2", "--shards", "12",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Announced to the whole network, signed by ops." in result.stdout
    (spec,) = two[0].started
    assert (spec.stale, spec.stale_rounds, spec.shards, spec.quorum) == ("use", 2, 12, 0.5)
    assert notice_in(two[0].notices[0]).join_seconds == 60.0
    assert two[1].called == []


def test_how_fragments_travel_and_are_aggregated(two: Any, peerctl: Any, operator: Path) -> None:
    options = ("--encoding", "int8", "--delta", "--aggregator", "trimmed-mean", "--trim", "0.25")
    result = peerctl("run", "start", "--operator", str(operator), *options)
    assert result.exit_code == 0, result.output
    (spec,) = two[0].started
    assert (spec.encoding, spec.delta, spec.aggregator, spec.trim) == ("int8", True, "trimmed-mean", 0.25)


def test_what_makes_no_sense_together_is_one_line(two: Any, peerctl: Any, operator: Path) -> None:
    result = peerctl(
        "run", "start", "--operator", str(operator), "--encoding", "top-k", "--aggregator", "krum"
    )
    assert result.exit_code != 0
    assert "use one of clipped-mean, mean, weighted-by-age, or a dense encoding" in result.stderr
    assert two[0].started == []


def test_there_is_a_shard_for_every_enrolled_peer(two: Any, peerctl: Any) -> None:
    two[1].status.peers_enrolled = 7  # it knows of two more than alice
    peerctl.json("--all", "run", "start")
    assert [peer.started[0].shards for peer in two] == [8, 8]


def test_the_contexts_file_may_name_the_operator(two: Any, peers: Any, peerctl: Any, operator: Path) -> None:
    assert peerctl.json("context", "operator", str(operator)) == {"operator": str(operator)}
    assert Contexts.load(peers.contexts.path).operator == operator
    assert peerctl.json("context", "list")["operator"] == str(operator)
    assert f"operator: {operator}" in peerctl("context", "list").stdout
    peerctl.json("run", "start")
    assert notice_in(two[0].notices[0]).network == "lab"
    assert peerctl.json("context", "operator", "--none") == {"operator": None}
    peerctl.json("run", "start")
    assert two[0].notices[1] == b""


def test_without_one_it_says_on_whom_the_run_is(two: Any, peerctl: Any) -> None:
    result = peerctl("run", "start")
    assert "Only on the peers named here: what no operator signs is not announced" in result.stdout
    assert two[0].notices == [b""]


def test_one_that_is_away_hears_of_an_announced_run_later(
    two: Any, peers: Any, peerctl: Any, operator: Path
) -> None:
    peers.absent("carol")
    result = peerctl("--all", "run", "start", "--operator", str(operator))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0].startswith("peerctl: carol: no daemon answers")
    assert result.stderr.splitlines()[1:] == ["peerctl: they hear of it from the others when they are back"]
    assert [len(peer.started) for peer in two] == [1, 1]
    as_json = peerctl("--all", "run", "start", "--operator", str(operator), "-o", "json")
    assert (as_json.exit_code, set(json.loads(as_json.stdout))) == (0, {"alice", "bob"})
    assert set(json.loads(as_json.stderr)["errors"]) == {"carol"}


def test_a_run_that_nobody_takes_is_started_nowhere(peers: Any, peerctl: Any, operator: Path) -> None:
    peers.absent("carol")
    result = peerctl("--all", "run", "start", "--operator", str(operator))
    assert result.exit_code == 5
    assert result.stderr.splitlines()[1:] == ["peerctl: the run was started nowhere"]


def test_a_refusal_is_one_although_another_took_the_run(two: Any, peerctl: Any, operator: Path) -> None:
    two[1].refuse = (grpc.StatusCode.FAILED_PRECONDITION, "run 12 is going on; stop it first")
    two[1].refused = {"Start"}
    result = peerctl("--all", "run", "start", "--operator", str(operator))
    assert result.exit_code == 4
    assert "bob: run 12 is going on" in result.stderr
    assert "the run goes on at alice" in result.stderr


def test_who_has_heard_of_it_from_another_already_has_started_it(
    two: Any, peerctl: Any, operator: Path
) -> None:
    """Gossip may be faster than this shell."""
    two[1].refuse = (grpc.StatusCode.FAILED_PRECONDITION, "that run is going on")
    two[1].refused = {"Start"}
    two[1].run.spec.run_id = "cd" * 16
    arguments = ("--all", "run", "start", "--operator", str(operator), "--run-id", "cd" * 16)
    assert set(peerctl.json(*arguments)) == {"alice", "bob"}


def test_peers_of_two_networks_take_no_notice_together(two: Any, peerctl: Any, operator: Path) -> None:
    two[1].status.network = "elsewhere"
    message = peerctl.error(2, "--all", "run", "start", "--operator", str(operator))
    assert message == "alice belongs to network lab, bob to elsewhere: name peers of one"
    peerctl.json("--all", "run", "start")  # each by itself


def test_an_announced_run_is_stopped_everywhere(two: Any, peers: Any, peerctl: Any, operator: Path) -> None:
    peerctl.json("--all", "run", "start", "--operator", str(operator))
    for peer in two:
        peer.run.announced = True
    peers.absent("carol")
    result = peerctl("--all", "run", "stop", "--operator", str(operator))
    assert result.exit_code == 0
    assert "carol" in result.stderr and "when they are back" in result.stderr
    (started, first), (_, second) = (peer.notices for peer in two)
    assert first == second
    notice, before = notice_in(first), notice_in(started)
    assert notice.stopped and notice.issued_at_ms > before.issued_at_ms
    assert runs_pb2.RunSpec.FromString(notice.spec).run_id == two[0].started[0].run_id


def test_what_was_not_announced_is_stopped_on_each(two: Any, peerctl: Any, operator: Path) -> None:
    peerctl.json("--all", "run", "stop", "--operator", str(operator))
    assert [peer.notices for peer in two] == [[b""], [b""]]
    two[0].run.announced = True
    assert "to end it everywhere, name an --operator" in peerctl("run", "stop").stdout
    assert two[0].notices[1:] == [b""]


def test_one_that_heard_of_the_end_from_another_has_stopped(two: Any, peerctl: Any, operator: Path) -> None:
    for peer in two:
        peer.run.announced = True
        spec = make_spec("digits-cnn", run_id="cd" * 16)
        peer.run.spec.CopyFrom(runs_pb2.RunSpec(**msgspec.to_builtins(spec)))
    two[1].run.state = "stopped"
    two[1].refuse = (grpc.StatusCode.FAILED_PRECONDITION, "it has ended already")
    two[1].refused = {"Stop"}
    shown = peerctl.json("--all", "run", "stop", "--operator", str(operator))
    assert {name: status["state"] for name, status in shown.items()} == {"alice": "stopped", "bob": "stopped"}
    assert peerctl("--on", "bob", "run", "stop").exit_code == 4  # without a notice it is a refusal


def test_show_has_the_cohort_of_each_round(two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = two[0].run
    run.listeners, run.contributes_from, run.rounds_skipped = 2, 4, 3
    run.results.add(round=3, test_samples=9, accuracy=0.5, cohort=7, listened=True, closed_by="grace")
    run.results.add(round=4, test_samples=9, accuracy=0.75, cohort=8, stale_fragments=5)
    shown = peerctl.json("run", "show")
    assert (shown["listeners"], shown["contributes_from"], shown["rounds_skipped"]) == (2, 4, 3)
    assert [(r["cohort"], r["listened"], r["stale_fragments"]) for r in shown["results"]] == [
        (7, True, 0),
        (8, False, 5),
    ]
    lines = [line.split() for line in peerctl("run", "show").stdout.splitlines()]
    assert lines[0][-4:] == ["Cohort", "Listening", "From", "Skipped"]
    assert lines[2][-4:] == ["6", "2", "4", "3"]
    header = next(line for line in lines if line and line[0] == "Round")
    assert header[-5:] == ["Cohort", "Listened", "Stale", "Closed", "by"]
    assert ["7", "1", "0", "grace"] in [line[-4:] for line in lines]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = peerctl("run", "show").stdout.splitlines()
    assert max(map(len, narrow)) <= 80
    assert "Skipped" in narrow[0]
