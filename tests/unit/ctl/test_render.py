from __future__ import annotations

import json
from io import StringIO

import pytest
import yaml
from rich.console import Console

from ctl import render
from ctl.fanout import Failure
from peerd.errors import ConflictError, NotFoundError
from peerd.pb import mixing_pb2, node_pb2, peers_pb2, runs_pb2


def text_of(thing: object) -> str:
    console = Console(file=StringIO(), width=200, markup=False, force_terminal=True)
    console.print(thing)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_plain_keeps_numbers_names_and_defaults() -> None:
    status = node_pb2.NodeStatus(
        name="alice",
        rss_bytes=2**63,
        traffic=node_pb2.TrafficStatus(packets={"own": 2**40, "ack": 1}, rtt_samples=[0.5]),
    )
    data = render.plain(status, without={"rtt_samples"})
    assert data["rss_bytes"] == 2**63
    assert data["run_id"] == "" and data["round"] == 0
    assert data["traffic"]["packets"] == {"ack": 1, "own": 2**40}
    assert "rtt_samples" not in data["traffic"]
    assert set(data) == {field.name for field in node_pb2.NodeStatus.DESCRIPTOR.fields}
    assert json.loads(json.dumps(data)) == data


def test_plain_of_repeated_messages_and_of_numbers_that_json_lacks() -> None:
    nan = float("nan")
    status = runs_pb2.RunStatus(
        results=[runs_pb2.RoundResult(round=1, train_loss=nan), runs_pb2.RoundResult(round=2)]
    )
    data = render.plain(status)
    assert [(r["round"], r["train_loss"]) for r in data["results"]] == [(1, None), (2, 0.0)]
    json.dumps(data, allow_nan=False)


def test_what_is_optional_and_absent_is_null_and_zero_is_zero() -> None:
    loops = mixing_pb2.LoopsMeasured(sent=3)
    assert render.plain(loops) == {"sent": 3, "returned": 0, "lost": 0, "loss": None, "alarm": False}
    loops.loss = 0.0
    assert render.plain(loops)["loss"] == 0.0
    assert render.plain(peers_pb2.Peer(name="a"))["loop_quality"] is None
    update = render.plain(mixing_pb2.UpdateMixingRequest(direct=False, preset=""))
    assert (update["direct"], update["preset"]) == (False, "")
    assert {value for name, value in update.items() if name not in ("direct", "preset")} == {None}
    assert json.loads(json.dumps(update)) == update


def test_a_message_that_is_absent_is_shown_with_its_defaults() -> None:
    measured = render.plain(mixing_pb2.MixingMeasured())
    assert measured["loops"] == render.plain(mixing_pb2.LoopsMeasured())
    assert measured["epoch"]["accepted"] == measured["end_to_end"] == []


def test_strings_of_peers_neither_style_nor_steer() -> None:
    hostile = "[red]eve[/red]\x1b]0;title\x07\x1b[2J"
    for thing in (render.table(("Name",), [(hostile,)]), render.details([("name", hostile)])):
        shown = text_of(thing)
        assert "[red]eve[/red]" in shown
        assert "\x1b]" not in shown and "\x1b[2J" not in shown and "\x07" not in shown


def test_lines_do_not_end_in_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    render.show("one", render.details([("key", "short"), ("other", "x" * 90)], "Title"))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["one", "Title", "key    short", f"other  {'x' * 90}"]


@pytest.mark.parametrize(
    ("columns", "header"),
    [("", "Peer Less Least Most"), ("30", "Peer Less Most"), ("3", "Peer Most")],
)
def test_a_narrow_terminal_loses_the_spare_columns(
    monkeypatch: pytest.MonkeyPatch, columns: str, header: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns or str(render.WIDTH))
    made = render.fitting(("Peer", "Less#", "Least", "Most"), [("alice", 1, "x" * 20, 2)], ("Least", "Less#"))
    assert [str(column.header) for column in made.columns] == header.split()


def test_an_error_is_one_line_and_its_tail_follows(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConflictError("alice:\n  taken")
    render.report(error, "table")
    assert capsys.readouterr().err == "peerctl: alice: taken\n"
    error.tail = ["one", "  two\x1b[2J"]  # type: ignore[attr-defined]
    render.report(error, "table")
    assert capsys.readouterr().err == "peerctl: alice: taken\n    one\n      two [2J\n"
    render.report(error, "json")
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "message": "alice: taken",
            "status": "FAILED_PRECONDITION",
            "exit_code": 4,
            "tail": ["one", "  two [2J"],
        }
    }


def test_failures_are_reported_for_each_peer(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [Failure("a", NotFoundError("a: none")), Failure("b", ConflictError("b: taken"))]
    render.report_failures(failures, "table")
    assert capsys.readouterr().err == "peerctl: a: none\npeerctl: b: taken\n"
    render.report_failures(failures, "json")
    errors = json.loads(capsys.readouterr().err)["errors"]
    assert {name: error["exit_code"] for name, error in errors.items()} == {"a": 3, "b": 4}
    render.report_failures(failures, "table", "do this")
    assert capsys.readouterr().err.splitlines()[2:] == ["peerctl: do this"]
    render.report_failures(failures, "json", "do this")
    assert json.loads(capsys.readouterr().err)["hint"] == "do this"
    render.report_failures([], "json")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, {"b": 2}], "c": {}, "d": []},
        {"yes": "no", "null": None, "n": 1e-7, "big": 2**63},
        {"text": "line\nbreak \x1b[31m \x9b and : # - 'quotes'", "ü": "ß"},
        [], {}, None, "plain", 3, ["x" * 1000],
    ],
)  # fmt: skip
def test_yaml_says_the_same_as_json(value: object) -> None:
    text = render.document(value, "yaml")
    assert yaml.safe_load(text) == json.loads(render.document(value, "json"))
    assert "\x1b" not in text and "\x9b" not in text
    assert not text.endswith(("\n", "..."))


def test_yaml_has_no_anchors_and_keeps_the_order() -> None:
    same = {"z": 1, "a": 2}
    assert render.document({"one": same, "two": same}, "yaml") == "one:\n  z: 1\n  a: 2\ntwo:\n  z: 1\n  a: 2"
