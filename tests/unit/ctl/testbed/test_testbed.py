"""Networks of stand-in daemons: real processes, sockets and files; only what they serve is made up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.contexts import Contexts
from ctl.testbed import PeerExitedError, Testbed, bring_up
from ctl.testbed.plan import ReservedPorts
from ctl.testbed.processes import Process
from ctl.testbed.up import bring_back
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from peerd.membership import Bundle

SECONDS = 30.0
Left = Callable[[], list[str]]


def exists(path: Path) -> bool:
    return path.exists()


def quiet(text: str, complete: bool) -> None:
    del text, complete


@pytest.fixture
def folder(short_path: Path) -> Path:
    return short_path / "tb"


async def test_up_and_down(standin: Any, folder: Path, left_running: Left) -> None:
    said: list[str] = []
    plan = standin.plan(4, hops=2)
    testbed = await bring_up(folder, plan, SECONDS, lambda text, full: said.append(text) if full else None)
    try:
        assert said == ["4 of 4 peers are up", "4 of 4 peers see all others"]
        assert testbed.running == ["alice", "bob", "carol", "dora"]
        contexts = Contexts.load(folder / "contexts.toml")
        assert contexts.current == "alice"
        assert tuple(contexts.endpoints.values()) == testbed.endpoints
        addresses = {peer.address for peer in testbed.peers}
        for peer in testbed.peers:
            config = tomllib.loads((folder / f"{peer.name}.toml").read_text())
            assert config["link"]["listen"] == peer.address
            assert config["mixing"]["hops"] == 2
            bundle = Bundle.load(folder / "network" / "bundles" / f"{peer.name}.bundle")
            assert {descriptor.address for descriptor in bundle.roster} == addresses
            assert f"{peer.name} begins at {peer.address}" in testbed.log(peer.name).read_text()
        assert Testbed.load(folder).running == testbed.running
    finally:
        assert testbed.down() == []
    assert testbed.running == Testbed.load(folder).running == []
    assert left_running() == []


async def test_another_peerctl_can_end_it(standin: Any, folder: Path, left_running: Left) -> None:
    await bring_up(folder, standin.plan(), SECONDS, quiet)
    other = Testbed.load(folder)
    assert len(other.running) == 3
    other.down()
    assert left_running() == []
    other.remove()
    assert not exists(folder)


async def test_the_deaf_are_killed(
    standin: Any, folder: Path, left_running: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctl.testbed.processes.terminate.__defaults__", (0.3,))
    standin(bob={"deaf": 1}, carol={"child": 1})
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    child = int((testbed.state_dir("carol") / "child.pid").read_text())
    assert testbed.down() == ["bob"]
    assert left_running() == []
    assert not Process.of(child).alive


async def test_one_that_ends_at_start_is_named_and_the_rest_is_ended(
    standin: Any, folder: Path, left_running: Left
) -> None:
    standin(carol={"exit": 3})
    with pytest.raises(PeerExitedError, match="carol ended with exit code 3") as caught:
        await bring_up(folder, standin.plan(), SECONDS, quiet)
    assert caught.value.tail[-1] == "peerd: cannot go on"
    assert left_running() == []
    assert Testbed.load(folder).log("carol").exists()


async def test_a_port_taken_in_between_is_tried_again_with_others(
    standin: Any, folder: Path, short_path: Path, left_running: Left
) -> None:
    standin(bob={"once": str(short_path / "tried")})
    said: list[str] = []
    testbed = await bring_up(folder, standin.plan(), SECONDS, lambda text, _: said.append(text))
    testbed.down()
    assert sum("a port was taken" in text for text in said) == 1
    assert left_running() == []


async def test_ports_that_are_always_taken_end_in_a_clear_failure(
    standin: Any, folder: Path, left_running: Left
) -> None:
    standin(bob={"exit": 4})
    with pytest.raises(PeerExitedError, match="bob ended with exit code 4"):
        await bring_up(folder, standin.plan(), SECONDS, quiet)
    assert left_running() == []


async def test_one_that_never_serves_is_not_waited_for_for_ever(
    standin: Any, folder: Path, left_running: Left
) -> None:
    standin(carol={"mute": 1})
    with pytest.raises(UnavailableError, match=r"only [0-2] of 3 peers were up after 1 s"):
        await bring_up(folder, standin.plan(), 1.0, quiet)
    assert left_running() == []


async def test_one_that_sees_nobody_is_named(standin: Any, folder: Path, left_running: Left) -> None:
    standin(carol={"lonely": 1})
    plan, ports = standin.plan(), ReservedPorts(3)
    testbed = Testbed.create(folder, plan, ports)
    try:
        await testbed.start(plan, SECONDS, quiet)
        with pytest.raises(UnavailableError, match=r"not all 2 others alive .* by: .*carol lacks 2$"):
            await testbed.wait_connected(0.5, quiet)
    finally:
        testbed.down()
        ports.close()
    assert left_running() == []


async def test_a_cancelled_start_leaves_nothing(standin: Any, folder: Path, left_running: Left) -> None:
    standin(carol={"mute": 1})
    begun = asyncio.Event()
    up = asyncio.create_task(bring_up(folder, standin.plan(), SECONDS, lambda *_: begun.set()))
    async with asyncio.timeout(SECONDS):
        await begun.wait()  # the first of them is up
    assert left_running()
    up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await up
    assert left_running() == []


async def test_those_that_are_down_come_back(standin: Any, folder: Path, left_running: Left) -> None:
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    pids = {peer.name: peer.process.pid for peer in testbed.peers if peer.process}
    os.kill(pids["bob"], signal.SIGKILL)
    with pytest.raises(PeerExitedError, match="bob was killed by SIGKILL"):
        await testbed.while_alive(asyncio.Event().wait())
    again = Testbed.load(folder)
    assert again.running == ["alice", "carol"]
    await bring_back(again, standin.plan(), SECONDS, quiet)
    now = {peer.name: peer.process.pid for peer in again.peers if peer.process}
    assert (now["alice"], now["carol"]) == (pids["alice"], pids["carol"])
    assert now["bob"] != pids["bob"]
    with pytest.raises(ConflictError, match="a testbed of 3 peers; --fresh"):
        await bring_back(again, standin.plan(4), SECONDS, quiet)
    again.down()
    assert left_running() == []


async def test_work_that_loses_its_peer_is_told_of_the_death_not_of_the_connection(
    standin: Any, folder: Path
) -> None:
    testbed = await bring_up(folder, standin.plan(), SECONDS, quiet)
    try:
        carol = testbed.peers[2].process
        assert carol is not None

        async def work() -> None:
            os.kill(carol.pid, signal.SIGKILL)
            raise UnavailableError("carol: connection lost")

        with pytest.raises(PeerExitedError, match="carol was killed by SIGKILL"):
            await testbed.while_alive(work())

    finally:
        testbed.down()


def test_folders_that_are_not_ours_are_left_alone(standin: Any, folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").touch()
    ports = ReservedPorts(3)
    try:
        with pytest.raises(ConflictError, match="not empty, and not a testbed"):
            Testbed.create(folder, standin.plan(), ports)
        (folder / "thesis.tex").unlink()
        testbed = Testbed.create(folder, standin.plan(), ports)
        with pytest.raises(ConflictError, match="lies here already"):
            Testbed.create(folder, standin.plan(), ports)
        (folder / "notes.txt").touch()
        testbed.remove()
        assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    finally:
        ports.close()


async def test_deep_folders_get_short_sockets(standin: Any, short_path: Path, left_running: Left) -> None:
    deep = short_path / ("deep" * 20) / "tb"
    testbed = await bring_up(deep, standin.plan(), SECONDS, quiet)
    try:
        sockets = [Path(peer.socket) for peer in testbed.peers]
        assert all(len(os.fsencode(socket)) <= 100 for socket in sockets)
        assert sockets[0].parent.stat().st_mode & 0o777 == 0o700
    finally:
        testbed.down()
        testbed.remove()
    assert left_running() == []
    assert not sockets[0].parent.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"peers": 3}', "\xff"])
def test_a_broken_record_is_one_line(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "testbed.json").write_text(content, encoding="latin-1")
    with pytest.raises(InvalidInputError, match=r"testbed\.json: not a testbed's record"):
        Testbed.load(folder)
    with pytest.raises(NotFoundError, match="no testbed here"):
        Testbed.load(folder / "nowhere")


def test_the_record_names_no_secret(standin: Any, folder: Path) -> None:
    ports = ReservedPorts(3)
    try:
        Testbed.create(folder, standin.plan(), ports)
    finally:
        ports.close()
    record = json.loads((folder / "testbed.json").read_text())
    assert set(record) == {"peers", "sockets"}
    for secret in ("network/ca.key", "ops/ops.key"):
        assert (folder / secret).stat().st_mode & 0o077 == 0
