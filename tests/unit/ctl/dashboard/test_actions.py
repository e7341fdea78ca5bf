"""What the page's buttons make peers do: small peers that speak the real control API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from ctl.dashboard.actions import Actions
from ctl.dashboard.forms import Request
from ctl.targets import Settings
from peerd.config import NetworkConfig
from peerd.errors import DeniedError, InvalidInputError
from peerd.membership import Authority

START = Request(fields={"task": "digits-cnn", "rounds": "7"})


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    authority = Authority.create(tmp_path / "lab", NetworkConfig(name="lab"))
    return authority.operator("ops", "admin", tmp_path / "ops")


@pytest.fixture
def actions_of(peers: Any) -> Callable[..., Actions]:
    def make(operator: Path | None = None) -> Actions:
        endpoints = tuple(peers.contexts.endpoints.values())
        return Actions(Settings(operator=operator, timeout=5.0), endpoints)

    return make


async def test_a_run_starts_on_all_peers_as_one(peers: Any, actions_of: Any) -> None:
    alice, bob = peers.add("alice"), peers.add("bob")
    outcome = await actions_of().do("start", START)
    assert (outcome.done, outcome.failed) == (["alice", "bob"], {})
    assert "no operator signed it" in outcome.note
    (first,), (second,) = alice.started, bob.started
    assert first == second
    assert (first.task, first.rounds, first.shards) == ("digits-cnn", 7, 6)
    assert alice.notices == [b""]


async def test_an_operator_announces_it(peers: Any, actions_of: Any, operator: Path) -> None:
    alice = peers.add("alice")
    peers.absent("bob")
    outcome = await actions_of(operator).do("start", START)
    assert (outcome.done, outcome.failed) == (["alice"], {})
    assert "announced to the whole network" in outcome.note
    assert "bob: not there; they hear of it from the others" in outcome.note
    assert alice.notices[0]


async def test_without_an_operator_it_starts_on_all_or_on_none(peers: Any, actions_of: Any) -> None:
    alice = peers.add("alice")
    peers.absent("bob")
    outcome = await actions_of().do("start", START)
    assert outcome.done == []
    assert outcome.note == "the run was started nowhere"
    assert list(outcome.failed) == ["bob"]
    assert "no daemon answers" in outcome.failed["bob"]
    assert alice.started == []


async def test_a_wrong_form_asks_nobody(peers: Any, actions_of: Any) -> None:
    alice = peers.add("alice")
    for what, request in (
        ("start", Request(fields={"task": "digits-cnn", "rounds": "0"})),
        ("start", Request(peers=["eve"], fields=START.fields)),
        ("mix", Request(fields={})),
    ):
        with pytest.raises(InvalidInputError):
            await actions_of().do(what, request)
    assert alice.called == []


async def test_a_viewer_is_told_so_before_anybody_is_asked(
    peers: Any, actions_of: Any, tmp_path: Path
) -> None:
    alice = peers.add("alice")
    authority = Authority.create(tmp_path / "lab", NetworkConfig(name="lab"))
    viewer = authority.operator("eve", "viewer", tmp_path / "eve")
    with pytest.raises(DeniedError, match="a viewer cannot announce runs"):
        await actions_of(viewer).do("start", START)
    assert alice.called == []


async def test_each_refusal_is_one_line_under_its_peers_name(peers: Any, actions_of: Any) -> None:
    peers.add("alice")
    bob = peers.add("bob")
    bob.refuse = (grpc.StatusCode.PERMISSION_DENIED, "a viewer's certificate\ncannot change anything")
    outcome = await actions_of().do("pause", Request())
    assert outcome.done == ["alice"]
    assert outcome.failed == {"bob": "bob: a viewer's certificate cannot change anything"}


@pytest.mark.parametrize(("what", "called"), [("pause", "Pause"), ("resume", "Resume"), ("stop", "Stop")])
async def test_a_run_is_steered_on_all_peers(peers: Any, actions_of: Any, what: str, called: str) -> None:
    both = [peers.add("alice"), peers.add("bob")]
    outcome = await actions_of().do(what, Request())
    assert (outcome.done, outcome.failed) == (["alice", "bob"], {})
    assert all(called in peer.called for peer in both)


async def test_stopping_an_announced_run_is_announced(peers: Any, actions_of: Any, operator: Path) -> None:
    alice = peers.add("alice")
    await actions_of(operator).do("start", START)
    alice.run.announced = True
    outcome = await actions_of(operator).do("stop", Request())
    assert outcome.done == ["alice"]
    assert alice.notices[-1] not in (b"", alice.notices[0])


async def test_mixing_changes_on_those_that_are_chosen(peers: Any, actions_of: Any) -> None:
    alice, bob = peers.add("alice"), peers.add("bob")
    request = Request(peers=["bob"], fields={"strategy": "pool", "pool_interval_seconds": "200ms"})
    outcome = await actions_of().do("mix", request)
    assert (outcome.done, outcome.failed) == (["bob"], {})
    assert alice.updates == []
    (update,) = bob.updates
    assert (update.strategy, update.pool_interval_seconds) == ("pool", 0.2)


async def test_one_thing_at_a_time(peers: Any, actions_of: Any) -> None:
    alice = peers.add("alice")
    actions = actions_of()
    changes = [Request(fields={"hops": str(hops)}) for hops in (1, 2, 3)]
    outcomes = await asyncio.gather(*(actions.do("mix", change) for change in changes))
    assert all(outcome.done == ["alice"] for outcome in outcomes)
    assert [update.hops for update in alice.updates] == [1, 2, 3]
