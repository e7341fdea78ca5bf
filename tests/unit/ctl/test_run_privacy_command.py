"""`peerctl run privacy`, with its real child process; what `run start`, `show` and `watch` say of privacy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ctl import tasks
from ctl.board import Board
from peerd.errors import NotFoundError
from peerd.pb import runs_pb2


@pytest.fixture
def alice(peers: Any) -> Any:
    return peers.add("alice")


def test_epsilon_for_noise_and_noise_for_epsilon(peerctl: Any) -> None:
    found = peerctl.json("run", "privacy", "--rounds", "5", "--noise-multiplier", "1")
    assert found == {
        "rounds": 5, "noise_multiplier": 1.0, "delta": 1e-5, "epsilon": pytest.approx(28.37347, abs=1e-4),
    }  # fmt: skip
    back = peerctl.json("run", "privacy", "--rounds", "5", "--epsilon", "28.3735")
    assert back["noise_multiplier"] == pytest.approx(1.0, rel=2e-3) and back["epsilon"] <= 28.3735
    lines = [line.split() for line in peerctl(
        "run", "privacy", "--rounds", "5", "--noise-multiplier", "1", "--delta", "1e-6"
    ).stdout.splitlines()]  # fmt: skip
    assert lines[:3] == [["rounds", "5"], ["noise", "multiplier", "1"], ["delta", "1e-06"]]
    assert lines[3][0] == "epsilon" and float(lines[3][1]) > 28.4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rounds", "5"], "give either --noise-multiplier or --epsilon"),
        (["--rounds", "5", "--noise-multiplier", "1", "--epsilon", "1"], "give either --noise-multiplier or"),
        (["--noise-multiplier", "1"], "Missing option '--rounds'"),
        (["--rounds", "0", "--noise-multiplier", "1"], "run: rounds: Expected `int` >= 1"),
        (["--rounds", "1", "--noise-multiplier", "-1"], "run: noise_multiplier: Expected"),
        (["--rounds", "1", "--noise-multiplier", "nan"], "run: noise_multiplier: Expected"),
        (["--rounds", "1", "--noise-multiplier", "0"], "without noise there is no epsilon"),
        (["--rounds", "1", "--noise-multiplier", "1e-4"], "use 0 to clip only, or 0.001 and more"),
        (["--rounds", "1", "--noise-multiplier", "1", "--delta", "0"], "run: privacy_delta: Expected"),
        (["--rounds", "1", "--epsilon", "0"], "--epsilon 0: must be above 0"),
        (["--rounds", "1", "--epsilon", "nan"], "--epsilon nan: must be above 0"),
        (["--rounds", "1", "--epsilon", "inf"], "--epsilon inf: must be above 0"),
    ],
)
def test_mistakes_are_one_line(peerctl: Any, arguments: list[str], says: str) -> None:
    assert says in peerctl.error(2, "run", "privacy", *arguments)


# -- run start ----------------------------------------------------------------------


def test_a_run_says_what_it_costs_before_it_starts(alice: Any, peerctl: Any) -> None:
    options = ("--privacy-clip", "0.5", "--noise-multiplier", "1", "--privacy-delta", "1e-6")
    result = peerctl("run", "start", "--rounds", "5", *options)
    assert result.exit_code == 0, result.output
    first = result.stdout.splitlines()[0]
    assert first.startswith("Privacy: after 5 rounds each peer has spent epsilon 30.")
    assert first.endswith(" at delta 1e-06.")
    (spec,) = alice.started
    assert (spec.privacy_clip, spec.noise_multiplier, spec.privacy_delta) == (0.5, 1.0, 1e-6)


def test_as_json_it_is_beside_the_answer(alice: Any, peerctl: Any) -> None:
    options = ("--privacy-clip", "2", "--noise-multiplier", "1", "--rounds", "5")
    result = peerctl("run", "start", *options, "-o", "json")
    assert json.loads(result.stdout)["spec"]["noise_multiplier"] == 1.0
    assert json.loads(result.stderr)["privacy"]["epsilon"] == pytest.approx(28.37347, abs=1e-4)


def test_bounds_alone_have_no_epsilon_and_no_privacy_is_not_spoken_of(alice: Any, peerctl: Any) -> None:
    assert "Privacy: updates are bounded (norm 2 at most), but not noised: no epsilon." in peerctl(
        "run", "start", "--privacy-clip", "2"
    ).stdout  # fmt: skip
    assert "rivacy" not in peerctl("run", "start").stdout


def test_what_makes_no_sense_is_started_nowhere(alice: Any, peerctl: Any) -> None:
    for options, says in (
        (["--noise-multiplier", "1"], "set privacy_clip above 0, too"),
        (["--privacy-clip", "1", "--privacy-delta", "1e-6"], "set noise_multiplier above 0, too"),
    ):
        assert says in peerctl.error(2, "run", "start", *options)
    assert alice.started == []


def test_a_cost_that_cannot_be_told_starts_nothing(
    alice: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise NotFoundError("dp-accounting is not installed here: pip install 'peerd[train]'")

    monkeypatch.setattr(tasks, "privacy", missing)
    options = ("--privacy-clip", "1", "--noise-multiplier", "1")
    assert "not installed here" in peerctl.error(3, "run", "start", *options)
    assert alice.started == []


# -- run show and watch ---------------------------------------------------------------


def test_what_was_spent_is_shown_where_there_is_noise(alice: Any, peerctl: Any) -> None:
    assert peerctl.json("run", "show")["epsilon"] is None
    assert "Epsilon" not in peerctl("run", "show").stdout
    alice.run.epsilon = 28.3734
    assert peerctl.json("run", "show")["epsilon"] == 28.3734
    lines = [line.split() for line in peerctl("run", "show").stdout.splitlines()]
    assert (lines[0][-1], lines[2][-1]) == ("Epsilon", "28.38")


def test_each_round_tells_what_the_peer_that_spent_most_had_spent(alice: Any, peerctl: Any) -> None:
    board = Board(["a", "b"])
    closed = runs_pb2.RoundResult(round=1, accuracy=0.5, test_samples=9, cohort=6, closed_by="complete")
    spec = runs_pb2.RunSpec(rounds=3)
    board.update_run("a", runs_pb2.RunStatus(spec=spec, state="running", results=[closed], epsilon=9.0))
    closed.epsilon = 4.5
    (line,) = board.update_run(
        "b", runs_pb2.RunStatus(spec=spec, state="running", results=[closed], epsilon=9.0)
    )
    assert line.endswith(", cohort 6, epsilon 4.50")
    alice.run.results.append(closed)
    rows = [line.split() for line in peerctl("run", "show").stdout.splitlines()]
    assert rows[-1][-3:] == ["4.50", "6", "complete"]
