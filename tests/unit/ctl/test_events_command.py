"""`peerctl events`: one stream out of several, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ctl.cli import cli
from ctl.commands.events import as_json, line
from ctl.events import Told
from ctl.fanout import Answer, Answers
from ctl.streams import merged
from peerd.pb import node_pb2

NOW = time.time()


def event(at: float, what: str, number: int = 1, **fields: Any) -> node_pb2.Event:
    return node_pb2.Event(at=at, number=number, what=what, **{"kind": "peer", **fields})


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob."""
    alice, bob = peers.add("alice"), peers.add("bob")
    alice.events = [event(NOW, "alive", peer="bob"), event(NOW + 2, "dead", 2, peer="bob", detail="no link")]
    bob.events = [event(NOW + 1, "closed", kind="round", detail="3 by grace")]
    return alice, bob


def told(lines: list[str]) -> list[str]:
    """Without the time."""
    return [line.partition(" ")[2] for line in lines]


@pytest.mark.usefixtures("two")
def test_of_one_and_of_all_by_time(peerctl: Any) -> None:
    assert told(peerctl("events").stdout.splitlines()) == ["peer  bob alive", "peer  bob dead: no link"]
    assert told(peerctl("--all", "events").stdout.splitlines()) == [
        "alice peer  bob alive",
        "bob   round closed: 3 by grace",
        "alice peer  bob dead: no link",
    ]
    assert told(peerctl("--all", "events", "-n", "2").stdout.splitlines())[0].startswith("bob   round")
    assert len(peerctl("events", "-n", "0").stdout.splitlines()) == 2


@pytest.mark.usefixtures("two")
def test_as_json_every_line_is_an_object(peerctl: Any) -> None:
    lines = [json.loads(line) for line in peerctl("--all", "events", "-o", "json").stdout.splitlines()]
    assert [(entry["by"], entry["what"], entry["number"]) for entry in lines] == [
        ("alice", "alive", 1), ("bob", "closed", 1), ("alice", "dead", 2),
    ]  # fmt: skip
    assert set(lines[0]) == {"by", "at", "kind", "peer", "what", "detail", "number"}


@pytest.mark.usefixtures("two")
def test_a_missing_peer_does_not_hide_the_others(peers: Any, peerctl: Any) -> None:
    peers.absent("carol")
    result = peerctl("--all", "events")
    assert result.exit_code == 5
    assert len(result.stdout.splitlines()) == 3
    assert result.stderr.startswith("peerctl: carol: no daemon answers")


def test_followed_are_those_that_come_until_all_are_lost(two: Any, peerctl: Any) -> None:
    """Each once, though the stream begins with some of the past again."""
    alice, bob = two
    alice.coming = [event(NOW + 3, "alive", 3, peer="bob")]
    result = peerctl("--all", "events", "-f", "-n", "1")
    assert result.exit_code == 5
    assert told(result.stdout.splitlines()) == ["alice peer  bob dead: no link", "alice peer  bob alive"]
    assert len(result.stderr.splitlines()) == 2
    as_json = peerctl("--all", "events", "-f", "-n", "1", "-o", "json")
    assert [json.loads(line)["number"] for line in as_json.stdout.splitlines()] == [2, 3]
    assert {name for line in as_json.stderr.splitlines() for name in json.loads(line)["errors"]} == {
        "alice",
        "bob",
    }
    assert bob.called.count("WatchEvents") == 4


def test_a_lost_peer_is_reported_and_the_others_go_on(two: Any, peerctl: Any) -> None:
    alice, bob = two
    bob.over = threading.Event()
    bob.coming = [event(NOW + 9, "raised", 2, kind="alarm")]
    threading.Timer(0.5, bob.over.set).start()
    result = peerctl("--all", "events", "-f")
    assert result.exit_code == 5
    first, second = result.stderr.splitlines()
    assert first.startswith("peerctl: alice: ")
    assert second == "peerctl: bob: the peer has ended its stream of events"
    assert told(result.stdout.splitlines())[-1] == "bob   alarm raised"
    assert alice.called == ["WatchEvents", "WatchEvents"]


def test_ctrl_c_ends_with_130(two: Any, peers: Any) -> None:
    alice, _ = two
    alice.over = threading.Event()
    code = "from ctl.main import main; main()"
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code, "events", "--follow"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for text in process.stdout:
                if "dead" in text:
                    break
            process.send_signal(2)
            _, errors = process.communicate(timeout=30)
    finally:
        alice.over.set()
    assert (process.returncode, errors.strip()) == (130, "peerctl: interrupted")


def test_colours_are_for_terminals(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(colour: bool) -> str:
        return CliRunner().invoke(cli, ["events"], prog_name="peerctl", color=colour).stdout

    assert "\x1b[31mdead\x1b[0m" in shown(True)
    assert "\x1b" not in shown(False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(True)


def test_the_last_word_of_an_alarm_gives_its_colour() -> None:
    assert "\x1b[31mdisk raised\x1b[0m" in line(Told("a", event(NOW, "disk raised", kind="alarm")), 0, NOW)


def test_another_day_has_its_date() -> None:
    assert line(Told("a", event(NOW, "up")), 0, NOW)[2] == ":"
    assert line(Told("a", event(NOW - 200_000, "up")), 0, NOW)[4] == "-"


@given(st.builds(node_pb2.Event, at=st.floats(), kind=st.text(max_size=9), peer=st.text(max_size=9),
                 what=st.text(max_size=9), detail=st.text(max_size=20)), st.text(max_size=9))  # fmt: skip
def test_whatever_a_peer_tells_is_one_line(told: node_pb2.Event, by: str) -> None:
    for text in (line(Told(by, told), 12, NOW), as_json(Told(by, told))):
        assert len(text.splitlines()) == 1
    assert "\x1b" not in line(Told(by, told), 12, NOW).replace("\x1b[3", "").replace("\x1b[0m", "")
    assert json.loads(as_json(Told(by, told)))["by"] == by


@given(st.lists(st.lists(st.floats(0, 100), max_size=6).map(sorted), max_size=4), st.integers(0, 12))
def test_merging_keeps_all_in_order(times: list[list[float]], last: int) -> None:
    answers = Answers(
        tuple(
            Answer(f"peer{place}", [event(at, "x", number) for number, at in enumerate(moments)])
            for place, moments in enumerate(times)
        ),
        (),
    )
    found = merged(answers, last)
    count = sum(map(len, times))
    assert len(found) == (min(count, last) if last else count)
    assert [one.item.at for one in found] == sorted(one.item.at for one in found)
    for place in range(len(times)):
        own = [one.item.number for one in found if one.by == f"peer{place}"]
        assert own == sorted(own)
