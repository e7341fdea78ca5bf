from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import yaml

from ctl import aio, repeat
from ctl.client import Client
from ctl.fanout import Answers
from peerd.errors import InvalidInputError

PEERCTL = (sys.executable, "-c", "from ctl.main import main; main()")


class StopError(Exception):
    pass


def reports(
    endpoints: list[Any], times: int, between: Callable[[int], None], *, told_by_itself: bool = False
) -> list[Answers[Any]]:
    """What is told in so many reports; `between` is called after each with its number."""
    told: list[Answers[Any]] = []

    def tell(answers: Answers[Any]) -> None:
        told.append(answers)
        between(len(told))
        if len(told) == times:
            raise StopError

    with pytest.raises(StopError):
        if told_by_itself:
            aio.run(repeat.follow(endpoints, lambda client: client.watch_status(0.05), 5.0, 0.05, tell))
        else:
            aio.run(repeat.ask(endpoints, Client.status, 5.0, 0.05, tell))
    return told


def test_each_report_is_of_now(peers: Any) -> None:
    peer = peers.add("alice")

    def later(number: int) -> None:
        peer.status.round = 10 * number

    peer.status.round = 0
    told = reports([peers.endpoint("alice")], 3, later)
    assert [answers.good[0].value.round for answers in told] == [0, 10, 20]


@pytest.mark.parametrize("told_by_itself", [False, True])
def test_a_peer_that_is_there_later_is_asked_again(peers: Any, told_by_itself: bool) -> None:
    endpoint = peers.absent("bob")

    def later(number: int) -> None:
        if number == 1:
            peers.add("bob")

    def seen(told: list[Answers[Any]]) -> list[bool]:
        return [bool(answers.good) for answers in told]

    told = seen(reports([endpoint], 60, later, told_by_itself=told_by_itself))
    assert told[0] is False and told[-1] is True


def test_what_peers_tell_by_themselves_is_reported_together(peers: Any) -> None:
    alice, bob = peers.add("alice"), peers.add("bob")
    endpoints = [peers.endpoint("bob"), peers.endpoint("alice")]

    def later(number: int) -> None:
        if number == 3:
            bob.told.set()

    told = reports(endpoints, 8, later, told_by_itself=True)
    assert [[answer.name for answer in answers.good] for answers in told[:3]] == [["bob", "alice"]] * 3
    assert all("alice" in {answer.name for answer in answers.good} for answers in told)
    assert any("bob: " in str(failure.error) for answers in told[3:] for failure in answers.bad)
    assert alice.called == ["WatchStatus"]


def test_a_peer_that_falls_silent_later_is_not_shown_as_it_was(peers: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(repeat, "LATE_SECONDS", 0.05)
    bob = peers.add("bob")
    bob.silent_after = 2
    told: list[Answers[Any]] = []

    def tell(answers: Answers[Any]) -> None:
        told.append(answers)
        if answers.bad:
            raise StopError

    with pytest.raises(StopError):
        aio.run(repeat.follow([peers.endpoint("bob")], lambda c: c.watch_status(0.05), 60.0, 0.05, tell))
    assert [len(answers.good) for answers in told[:2]] == [1, 1]
    assert "bob: no answer in time" in str(told[-1].bad[0].error)


def test_what_a_peer_refuses_as_wrong_is_not_asked_again(peers: Any) -> None:
    peers.add("alice").refuse = (grpc.StatusCode.INVALID_ARGUMENT, "not that")
    with pytest.raises(InvalidInputError, match="alice: not that"):
        aio.run(repeat.follow([peers.endpoint("alice")], lambda c: c.watch_status(1), 5.0, 1.0, print))


def test_a_peer_that_falls_silent_does_not_hold_the_others_up(peers: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(repeat, "LATE_SECONDS", 0.05)
    peers.add("alice")
    bob = peers.add("bob")
    bob.hold = threading.Event()
    told: list[Answers[Any]] = []

    def tell(answers: Answers[Any]) -> None:
        told.append(answers)
        if answers.bad:
            raise StopError

    endpoints = [peers.endpoint("alice"), peers.endpoint("bob")]
    with pytest.raises(StopError):
        aio.run(repeat.follow(endpoints, lambda client: client.watch_status(0.05), 0.5, 0.05, tell))
    bob.hold.set()
    assert [answer.name for answer in told[0].good] == ["alice"] and not told[0].bad
    assert "bob: no answer in time" in str(told[-1].bad[0].error)


@pytest.fixture
def watching(peers: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PEERCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "command", [["status"], ["peers"], ["mix", "show"], ["run", "show"], ["run", "checkpoints"]], ids=" ".join
)
def test_a_document_an_interval_until_the_signal(peers: Any, watching: Any, command: list[str]) -> None:
    peers.add("alice")
    process = watching(*command, "--watch", "0.2", "-o", "json")
    found = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert type(found[0]) is type(found[1])
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(told)["error"]["message"] == "interrupted"


def test_yaml_documents_and_what_fails_beside_them(peers: Any, watching: Any) -> None:
    peers.add("alice")
    peers.absent("bob")
    process = watching("--all", "status", "-o", "yaml", "--watch=0.3")
    lines: list[str] = []
    while sum(line == "---\n" for line in lines) < 3:
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    documents = list(yaml.safe_load_all("".join(lines[:-1])))
    assert [list(document) for document in documents] == [["alice"], ["alice"]]
    assert documents[0]["alice"]["traffic"]["packets"]["own"] == 10
    assert "bob: no daemon answers" in told


def test_tables_come_one_below_the_other_in_a_pipe(peers: Any, watching: Any) -> None:
    peers.add("alice")
    process = watching("peers", "--watch", "200ms")
    lines = [process.stdout.readline() for _ in range(10)]
    assert sum("every 200ms" in line for line in lines) == 2
    assert sum(line.startswith("zoe") for line in lines) >= 2


def test_without_a_value_it_is_every_five_seconds(peers: Any, peerctl: Any, monkeypatch: Any) -> None:
    peers.add("alice")
    asked: list[float] = []

    async def once(*arguments: Any) -> None:
        asked.append(arguments[3])

    monkeypatch.setattr("ctl.repeat.ask", once)
    monkeypatch.setattr("ctl.repeat.follow", once)
    for words in (["peers", "--watch"], ["status", "--watch", "-o", "json"], ["status", "--watch", "2s"]):
        assert peerctl(*words).exit_code == 0
    assert asked == [5.0, 5.0, 2.0]


def test_one_connection_serves_all_questions(peers: Any, monkeypatch: Any) -> None:
    peers.add("alice")
    made = []
    original = Client.__init__

    def counted(self: Client, *arguments: Any) -> None:
        made.append(threading.get_ident())
        original(self, *arguments)

    monkeypatch.setattr(Client, "__init__", counted)
    reports([peers.endpoint("alice")], 4, lambda _: None)
    assert len(made) == 1
