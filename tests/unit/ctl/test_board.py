from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from ctl.board import Board, cover_of, round_line, round_rows, rounds_table
from peerd.pb import runs_pb2


def result(number: int, accuracy: float, measured: bool = True, **fields: Any) -> runs_pb2.RoundResult:
    fields = {"closed_by": "complete"} | fields
    samples = 100 if measured else 0
    return runs_pb2.RoundResult(round=number, accuracy=accuracy, test_samples=samples, **fields)


def status(*results: runs_pb2.RoundResult, state: str = "running", **fields: Any) -> runs_pb2.RunStatus:
    spec = runs_pb2.RunSpec(rounds=3)
    return runs_pb2.RunStatus(spec=spec, state=state, results=results, **fields)


def test_a_round_is_told_once_and_only_when_all_have_measured_it() -> None:
    board = Board(["a", "b"])
    assert board.update_run("a", status(result(1, 0.5))) == []
    assert board.update_run("b", status(result(1, 0.0, measured=False))) == []
    (line,) = board.update_run("b", status(result(1, 0.7)))
    assert line.startswith("round 1/3: accuracy 0.600 (0.500 to 0.700)")
    assert board.update_run("b", status(result(1, 0.7))) == []
    both = [result(1, 0.5), result(2, 0.6), result(3, 0.9)]
    assert board.update_run("a", status(*both)) == []
    lines = board.update_run("b", status(*both))
    assert [line.split(":")[0] for line in lines] == ["round 2/3", "round 3/3"]


def test_unusual_ends_of_a_round_are_told() -> None:
    board = Board(["a"])
    (line,) = board.update_run("a", status(result(1, 0.5, closed_by="timeout", gave_up=2)))
    assert line.endswith("closed by timeout, gave up 2 fragments")


def test_lines_and_table_tell_the_same_exchange() -> None:
    board = Board(["a", "b"])
    both = [status(result(1, 0.5, exchange_seconds=seconds)) for seconds in (1, 3)]
    board.update_run("a", both[0])
    (line,) = board.update_run("b", both[1])
    assert ", exchange 2.0 s, " in line
    assert next(round_rows(both))[6] == "2.0 s"


def test_cover_is_of_all_kinds_and_old_daemons_lack_one() -> None:
    assert cover_of({"loop": 1, "drop": 2, "own": 9}) == 3
    assert cover_of({"loop": 1, "drop": 2, "dummy": 4}) == 7


def test_a_peer_that_is_far_behind_does_not_hold_up_the_lines() -> None:
    board = Board(["a", "b"])
    board.update_run("b", status())
    assert board.update_run("a", status(result(1, 0.5), result(2, 0.6))) == []
    lines = board.update_run("a", status(result(1, 0.5), result(2, 0.6), result(3, 0.7)))
    assert [line.partition(":")[0] for line in lines] == ["round 1/3"]


def test_one_that_has_just_joined_does_not_hold_up_the_lines() -> None:
    board = Board(["a"])
    board.update_run("b", status(stage="listening", round=1))
    (line,) = board.update_run("a", status(result(1, 0.5)))
    assert line.startswith("round 1/3: accuracy 0.500,")
    board.update_run("b", status(result(1, 0.5, measured=False), stage="evaluating"))
    assert board.update_run("a", status(result(1, 0.5), result(2, 0.6))) == []


def test_who_comes_late_is_told_of_and_does_not_spoil_the_means() -> None:
    board = Board(["a"])
    assert board.update_run("b", status(stage="listening", round=2)) == ["b: listens in round 2"]
    assert board.update_run("b", status(stage="listening", round=2)) == []
    (line,) = board.update_run("b", status(stage="evaluating", round=2, contributes_from=3))
    assert line == "b: contributes from round 3"
    trained = result(2, 0.75, accuracy_local=0.5, train_seconds=2.0, cohort=4)
    heard = result(2, 0.75, listened=True, cohort=5)
    line = round_line([trained, heard])
    assert ", local 0.500, training 2.0 s, " in line
    assert line.endswith("cohort 4 to 5, 1 listened")
    assert "local" not in round_line([heard])
    rows = list(round_rows([status(trained), status(heard)]))
    assert rows[0][4:6] == ("0.5000", "2.0 s")
    assert next(round_rows([status(heard)]))[4:6] == ("", "")


def test_rare_columns_are_there_when_they_have_something_to_say() -> None:
    def titles(*results: runs_pb2.RoundResult) -> str:
        console = Console(file=StringIO(), width=200)
        console.print(rounds_table([status(*results)]))
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    assert "Listened" not in titles(result(1, 0.5)) and "Stale" not in titles(result(1, 0.5))
    assert "Cohort" in titles(result(1, 0.5))
    assert "Listened" in titles(result(1, 0.5), result(2, 0.5, listened=True))
    assert "Stale" in titles(result(1, 0.5, stale_fragments=3))


def test_changes_of_state_are_told() -> None:
    board = Board(["a"])
    assert board.update_run("a", status(state="starting")) == []
    assert board.update_run("a", status(state="running")) == []
    assert board.update_run("a", status(state="paused")) == ["a: paused"]
    assert board.update_run("a", status(state="paused")) == []
    assert board.update_run("a", status(state="running")) == ["a: running"]
    failed = status(state="failed", error="no\x1b[2J data")
    assert board.update_run("a", failed) == ["a: the run failed: no [2J data"]


def test_a_lost_peer_does_not_hold_up_the_others() -> None:
    board = Board(["a", "b"])
    board.update_run("b", status(result(1, 0.5)))
    board.lose("a")
    assert board.update_run("b", status(result(1, 0.5)))[0].startswith("round 1/3: accuracy 0.500,")


def test_the_table_shows_rounds_and_packets(status_of: Any) -> None:
    board = Board(["a", "b"])
    running = status(result(1, 0.75), round=2, stage="exchanging", fragments_received=7)
    board.update_run("a", running)
    board.update_node("a", status_of("a"))
    console = Console(file=StringIO(), width=200)
    console.print(board.table())
    assert isinstance(console.file, StringIO)
    row = console.file.getvalue().splitlines()[2].split()
    assert row[:5] == ["a", "2/3", "exchanging", "7/0", "0.750"]
    assert row[-3:] == ["30", f"{5 << 30:,}", "7"]


def test_rows_of_rounds_are_means_over_the_peers_that_have_them() -> None:
    first = status(result(1, 0.5, exchange_seconds=1), result(2, 0.9, gave_up=1))
    second = status(result(1, 0.7, exchange_seconds=3, closed_by="grace"))
    rows = list(round_rows([first, second]))
    assert [row[0] for row in rows] == [1, 2]
    assert rows[0][1:4] == ("0.6000", "0.5000", "0.7000")
    assert rows[0][6] == "2.0 s"
    assert [row[-1] for row in rows] == ["complete/grace", "complete"]
