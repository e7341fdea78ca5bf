"""What experiments do to single peers of a testbed: stand-in daemons, real processes and signals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.client import Client
from ctl.contexts import Contexts
from ctl.draining import drain
from ctl.testbed import PeerExitedError, Plan, Testbed, bring_up
from ctl.testbed.processes import Process
from ctl.testbed.up import bring_back_one, grow
from ctl.watch import Silent
from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.membership import Bundle

SECONDS = 30.0
Left = Callable[[], list[str]]


def quiet(text: str, complete: bool) -> None:
    del text, complete


@pytest.fixture
def folder(short_path: Path) -> Path:
    return short_path / "tb"


async def sees(testbed: Testbed, name: str, other: str, state: str) -> None:
    """Until one sees another in that state."""
    async with asyncio.timeout(SECONDS), Client(testbed.peer(name).endpoint, SECONDS) as client:
        while True:
            if {peer.name: peer.state for peer in await client.peers()}.get(other) == state:
                return
            await asyncio.sleep(0.02)


async def test_late_ones_are_enrolled_and_keep_their_ports_but_do_not_run(
    standin: Any, folder: Path, left_running: Left
) -> None:
    plan = Plan.make(5, command=standin.command, hops=1, late=("dora", "erin"))
    said: list[str] = []
    testbed = await bring_up(folder, plan, SECONDS, lambda text, full: said.append(text) if full else None)
    try:
        assert said == ["3 of 3 peers are up", "3 of 3 peers see all others"]
        assert testbed.running == ["alice", "bob", "carol"]
        assert len(Bundle.load(folder / "network/bundles/alice.bundle").roster) == 5
        await testbed.start(plan, SECONDS, quiet, ["erin"])
        await testbed.wait_connected(SECONDS, quiet)
        assert testbed.running == ["alice", "bob", "carol", "erin"]
        await sees(testbed, "alice", "erin", "alive")
        await sees(testbed, "alice", "dora", "joining")
        await testbed.start(plan, SECONDS, quiet)
        assert testbed.running == ["alice", "bob", "carol", "erin"]
    finally:
        testbed.down()
    assert left_running() == []


async def test_a_further_peer_joins_and_no_other_bundle_changes(
    standin: Any, folder: Path, left_running: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = standin.plan()
    testbed = await bring_up(folder, plan, SECONDS, quiet)
    try:
        bundles = {path.name: path.read_bytes() for path in (folder / "network/bundles").iterdir()}
        await grow(testbed, plan, "zoe", SECONDS, quiet)
        assert testbed.running == ["alice", "bob", "carol", "zoe"]
        assert Testbed.load(folder).running == testbed.running
        assert list(Contexts.load(folder / "contexts.toml").endpoints) == testbed.running
        new = Bundle.load(folder / "network/bundles/zoe.bundle")
        assert {peer.name for peer in new.roster} == {"alice", "bob", "carol", "zoe"}
        for name, before in bundles.items():
            assert (folder / "network/bundles" / name).read_bytes() == before
        with pytest.raises(ConflictError, match="there is a peer of this name"):
            testbed.add("bob")
        with pytest.raises(InvalidInputError):
            testbed.add("../bob")
        monkeypatch.setattr("ctl.testbed.testbed.UNIX_PATH_BYTES", len(testbed.peer("alice").socket))
        with pytest.raises(InvalidInputError, match="too long for a socket"):
            testbed.add("zachary")
        assert len(testbed.peers) == 4
    finally:
        testbed.down()
        testbed.remove()
    assert left_running() == []
    assert not await asyncio.to_thread(folder.exists)


async def test_one_that_does_not_come_up_leaves_the_others_alone(
    standin: Any, folder: Path, left_running: Left
) -> None:
    standin(zoe={"exit": 3})
    plan = standin.plan()
    testbed = await bring_up(folder, plan, SECONDS, quiet)
    try:
        with pytest.raises(PeerExitedError, match="zoe ended with exit code 3"):
            await grow(testbed, plan, "zoe", SECONDS, quiet)
        assert testbed.running == ["alice", "bob", "carol"]
        assert testbed.dead() is None
        standin()
        await bring_back_one(testbed, plan, "zoe", SECONDS, quiet)
        assert testbed.running == ["alice", "bob", "carol", "zoe"]
    finally:
        testbed.down()
    assert left_running() == []


async def test_kill_and_start_again(standin: Any, folder: Path, left_running: Left) -> None:
    plan = standin.plan()
    testbed = await bring_up(folder, plan, SECONDS, quiet)
    try:
        before = testbed.peer("bob").running
        await testbed.while_alive(_kill_and_look(testbed))
        assert testbed.running == ["alice", "carol"]
        with pytest.raises(ConflictError, match="bob does not run; `peerctl testbed start bob`"):
            testbed.kill("bob")
        with pytest.raises(NotFoundError, match="no peer 'zed' in this testbed; it has alice, bob, carol"):
            testbed.kill("zed")
        await testbed.wait_connected(SECONDS, quiet)  # the two that are left
        await testbed.start(plan, SECONDS, quiet, ["bob"])
        await testbed.wait_connected(SECONDS, quiet)
        assert testbed.peer("bob").running != before
    finally:
        testbed.down()
    assert left_running() == []


async def _kill_and_look(testbed: Testbed) -> None:
    """It is no accident: `while_alive` around it does not mind."""
    testbed.kill("bob")
    await sees(testbed, "alice", "bob", "dead")


async def test_what_a_killed_daemon_has_started_is_ended_at_last(
    standin: Any, folder: Path, left_running: Left
) -> None:
    standin(bob={"child": 1})
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    try:
        child = Process.of(int((testbed.state_dir("bob") / "child.pid").read_text()))
        testbed.kill("bob")
        assert child.alive
    finally:
        testbed.down()
    assert not child.alive
    assert left_running() == []


async def test_freeze_and_thaw_and_down_while_frozen(standin: Any, folder: Path, left_running: Left) -> None:
    standin(bob={"child": 1})
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    try:
        child = Process.of(int((testbed.state_dir("bob") / "child.pid").read_text()))
        testbed.freeze("bob")
        await sees(testbed, "alice", "bob", "dead")
        assert testbed.peer("bob").frozen and child.frozen
        assert testbed.dead() is None
        await testbed.wait_connected(SECONDS, quiet)  # the others do not wait for it
        testbed.thaw("bob")
        await sees(testbed, "alice", "bob", "alive")
        assert not testbed.peer("bob").frozen and not child.frozen
        testbed.freeze("bob")
    finally:
        killed = testbed.down()
    assert killed == []
    assert left_running() == []


async def test_a_drained_peer_goes_by_itself(standin: Any, folder: Path, left_running: Left) -> None:
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    try:
        testbed.leaving("bob")
        answers = await drain([testbed.peer("bob").endpoint], SECONDS, False, Silent())
        assert [answer.value.state for answer in answers.good] == ["drained"]
        assert await testbed.wait_gone("bob", SECONDS)
        assert testbed.dead() is None
        await sees(testbed, "alice", "bob", "left")
        assert not await testbed.wait_gone("alice", 0.1)
    finally:
        testbed.down()
    assert left_running() == []
