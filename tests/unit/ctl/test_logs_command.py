"""`peerctl logs`: the lines of several daemons as one stream, for people and for programs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.commands.logs import as_json, fields, text_of
from ctl.fanout import Answer, Answers
from ctl.streams import Told as Said
from ctl.streams import merged
from peerd.pb import logs_pb2

NOW = time.time()
Line = logs_pb2.LogLine


def line(at: float, event: str, number: int = 1, level: str = "info", **named: Any) -> Line:
    return Line(number=number, at=at, level=level, event=event, fields=json.dumps(named))


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob."""
    alice, bob = peers.add("alice"), peers.add("bob")
    alice.logged = [
        logs_pb2.LogBatch(lines=[line(NOW, "peer is up", name="alice")]),
        logs_pb2.LogBatch(lines=[line(NOW + 2, "trainer died", 2, "warning", restarts=1)]),
    ]
    bob.logged = [logs_pb2.LogBatch(lines=[line(NOW + 1, "epoch", level="debug", epoch=17)])]
    return alice, bob


def told(text: str) -> list[str]:
    """Without the time."""
    return [one.partition(" ")[2] for one in text.splitlines()]


def test_of_one_and_of_all_by_time(two: Any, peerctl: Any) -> None:
    assert told(peerctl("logs").stdout) == [
        "info    peer is up name=alice",
        "warning trainer died restarts=1",
    ]
    assert told(peerctl("--all", "logs").stdout) == [
        "alice info    peer is up name=alice",
        "bob   debug   epoch epoch=17",
        "alice warning trainer died restarts=1",
    ]
    assert told(peerctl("--all", "logs", "-n", "1").stdout) == ["alice warning trainer died restarts=1"]
    peerctl("logs", "-n", "7", "--level", "error")
    assert (two[0].asked[-1].last, two[0].asked[-1].level, two[0].asked[-1].follow) == (7, "error", False)


@pytest.mark.usefixtures("two")
def test_as_json_every_line_is_an_object(peerctl: Any) -> None:
    lines = [json.loads(one) for one in peerctl("--all", "logs", "-o", "json").stdout.splitlines()]
    assert lines[1] == {
        "by": "bob", "at": NOW + 1, "level": "debug", "event": "epoch", "fields": {"epoch": 17}, "number": 1,
    }  # fmt: skip


def test_followed_are_those_that_come_and_what_was_lost_is_said(two: Any, peerctl: Any) -> None:
    """Each once, though the stream begins with some of the past again."""
    alice, bob = two
    alice.logs_coming = [
        logs_pb2.LogBatch(lines=[line(NOW + 9, "last", 60)], lost=57),
    ]
    result = peerctl("--all", "logs", "-f")
    assert result.exit_code == 5
    assert told(result.stdout)[3:] == ["alice info    last"]
    assert "peerctl: alice: 57 lines lost: they came too fast" in result.stderr
    assert result.stderr.count("no daemon answers") == 2
    assert bob.asked[-1].follow
    json_lost = peerctl("--context", "alice", "logs", "-f", "-o", "json").stderr.splitlines()[0]
    assert json.loads(json_lost) == {"by": "alice", "lost": 57}


@pytest.mark.usefixtures("two")
def test_a_missing_peer_does_not_hide_the_others(peers: Any, peerctl: Any) -> None:
    peers.absent("carol")
    result = peerctl("--all", "logs")
    assert result.exit_code == 5
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr.startswith("peerctl: carol: no daemon answers")


def test_a_traceback_follows_its_line_indented() -> None:
    said = Said("alice", line(NOW, "run failed", level="error", exception="Traceback:\n  File x\nE: \x1b[2J"))
    assert text_of(said, 0, NOW).splitlines()[1:] == ["    Traceback:", "      File x", "    E:  [2J"]


LINES = st.builds(
    Line,
    number=st.integers(0, 2**64 - 1),
    at=st.floats(allow_nan=False, allow_infinity=False),
    level=st.text(),
    event=st.text(),
    fields=st.text() | st.just('{"a": NaN, "b": [1], "\\u001b[2J": "\\u2028"}') | st.just("[" * 5000),
)


@given(LINES, st.text())
def test_whatever_a_peer_sends_is_one_line_that_steers_no_terminal(sent: Line, name: str) -> None:
    said = Said(name, sent)
    shown = text_of(said, 5, NOW)
    plain = shown.replace("\x1b[0m", "")
    for colour in ("\x1b[90m", "\x1b[32m", "\x1b[33m", "\x1b[31m"):
        plain = plain.replace(colour, "")
    assert plain.isprintable()
    parsed = json.loads(as_json(said))
    assert parsed["fields"] == fields(sent.fields)
    assert len(as_json(said).splitlines()) == 1


@given(st.lists(st.lists(st.floats(0, 1e9), max_size=5).map(sorted), max_size=4), st.integers(0, 10))
def test_merged_is_by_time_and_only_the_last(times: list[list[float]], last: int) -> None:
    good = tuple(
        Answer(f"p{i}", [line(at, "x", number) for number, at in enumerate(ats, 1)])
        for i, ats in enumerate(times)
    )
    everything = merged(Answers(good, ()), 0)
    assert [said.item.at for said in everything] == sorted(at for ats in times for at in ats)
    assert merged(Answers(good, ()), last) == (everything[-last:] if last else everything)
