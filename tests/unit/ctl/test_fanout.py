from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from ctl.client import Client
from ctl.fanout import Answers, Failure, fan_out
from peerd.errors import ConflictError, NotFoundError, PeerdError, UnavailableError

SECONDS = 5.0


async def test_failures_take_nothing_from_the_others(peers: Any) -> None:
    peers.add("alice")
    peers.add("bob").refuse = (grpc.StatusCode.NOT_FOUND, "no run")
    absent = peers.absent("carol")
    peers.add("dora")
    endpoints = [peers.endpoint("alice"), peers.endpoint("bob"), absent, peers.endpoint("dora")]
    answers = await fan_out(endpoints, Client.status, SECONDS)
    assert [(a.name, a.value.name) for a in answers.good] == [("alice", "alice"), ("dora", "dora")]
    assert [(f.name, type(f.error)) for f in answers.bad] == [
        ("bob", NotFoundError),
        ("carol", UnavailableError),
    ]
    assert answers.exit_code == 1


async def test_the_calls_run_at_the_same_time(peers: Any) -> None:
    for name in ("alice", "bob", "carol"):
        peers.add(name)
    together = asyncio.Barrier(3)

    async def call(client: Client) -> str:
        async with asyncio.timeout(SECONDS):
            await together.wait()  # passes only when all three are here at once
        return client.endpoint.name

    endpoints = [peers.endpoint(name) for name in ("carol", "alice", "bob")]
    answers = await fan_out(endpoints, call, SECONDS)
    assert [answer.name for answer in answers.good] == ["carol", "alice", "bob"]


async def test_a_bug_is_not_a_peers_failure(peers: Any) -> None:
    peers.add("alice")

    async def call(client: Client) -> None:
        raise KeyError(client.endpoint.name)

    with pytest.raises(KeyError):
        await fan_out([peers.endpoint("alice")], call, SECONDS)


def answers(*errors: PeerdError) -> Answers[None]:
    return Answers((), tuple(Failure("x", error) for error in errors))


def test_exit_codes() -> None:
    assert answers().exit_code == 0
    assert answers(ConflictError("a"), ConflictError("b")).exit_code == 4
    assert answers(ConflictError("a"), NotFoundError("b")).exit_code == 1
