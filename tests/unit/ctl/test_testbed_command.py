"""`peerctl testbed` over stand-in daemons, and the other commands that find them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctl.testbed import Testbed

Left = Callable[[], list[str]]


@pytest.fixture
def folder(home: Path, standin: Any, left_running: Left) -> Any:
    """Nothing runs when the test ends, whatever it did."""
    standin.use_for_peerctl()
    folder = home / "tb"
    yield folder
    if (folder / "testbed.json").exists():
        Testbed.load(folder).down()
    assert left_running() == []


def test_up_use_status_logs_down(peerctl: Any, folder: Path, left_running: Left) -> None:
    up = peerctl("testbed", "up", "--dir", str(folder), "--peers", "3", "--hops", "1")
    assert up.exit_code == 0, up.output
    assert "3 of 3 peers see all others" in up.stdout
    assert list(peerctl.json("--all", "status")) == ["alice", "bob", "carol"]
    assert peerctl.json("status")["name"] == "alice"
    assert list(peerctl.json("--testbed", str(folder), "--on", "bob", "status")) == ["bob"]
    shown = peerctl.json("testbed", "status")
    assert shown["dir"] == str(folder)
    assert [(peer["name"], peer["state"]) for peer in shown["peers"]] == [
        ("alice", "up"),
        ("bob", "up"),
        ("carol", "up"),
    ]
    table = peerctl("testbed", "status").stdout.splitlines()
    assert table[0] == str(folder)
    assert not any(str(folder) in line for line in table[1:])
    assert "alice | alice begins at" in peerctl("testbed", "logs").stdout
    assert peerctl("testbed", "logs", "bob").stdout.startswith("bob begins at 127.0.0.1:")
    assert "no peer 'zed'" in peerctl.error(3, "testbed", "logs", "zed")

    again = peerctl.json("testbed", "up", "--dir", str(folder), "--hops", "1")
    assert again["peers"] == ["alice", "bob", "carol"]
    busy = peerctl.error(4, "testbed", "up", "--dir", str(folder), "--fresh", "--peers", "4", "--hops", "1")
    assert "alice, bob, carol run; `peerctl testbed down` first" in busy

    down = peerctl.json("testbed", "down")
    assert (down["ended"], down["killed"]) == (["alice", "bob", "carol"], [])
    assert left_running() == []
    assert "names no peer" in peerctl.error(3, "--all", "status")
    states = peerctl.json("testbed", "status", "--dir", str(folder))["peers"]
    assert {peer["state"] for peer in states} == {"down"}

    fresh = peerctl.json("testbed", "up", "--dir", str(folder), "--fresh", "--peers", "4", "--hops", "1")
    assert len(fresh["peers"]) == 4
    assert "Ended alice, bob, carol, dora" in peerctl("testbed", "down", "--delete").stdout
    assert not folder.exists()


def test_a_failed_up_is_one_error_with_the_tail_of_the_log(
    peerctl: Any, folder: Path, standin: Any, left_running: Left
) -> None:
    standin(bob={"exit": 3})
    result = peerctl("testbed", "up", "--dir", str(folder), "--peers", "3", "--hops", "1")
    assert result.exit_code == 1
    first, *tail = result.stderr.splitlines()
    assert first == "peerctl: bob ended with exit code 3"
    assert tail[-1] == "    peerd: cannot go on"
    assert left_running() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hops", "3", "--peers", "4"], "hops: 3 mix nodes between two peers need at least 5"),
        (["--strategy", "magic"], "'magic' is not one of 'exponential', 'outbox'"),
        (["--loop-rate", "-1"], "mixing: loop_rate_per_second"),
    ],
)
def test_what_cannot_work_makes_nothing(
    peerctl: Any, folder: Path, arguments: list[str], message: str
) -> None:
    assert message in peerctl.error(2, "testbed", "up", "--dir", str(folder), *arguments)
    assert not folder.exists()


def test_single_peers_are_added_killed_stopped_started_and_frozen(
    peerctl: Any, folder: Path, left_running: Left
) -> None:
    up = peerctl("testbed", "up", "--dir", str(folder), "--peers", "4", "--hops", "2", "--mean-delay", "7ms")
    assert up.exit_code == 0, up.output

    def states() -> dict[str, str]:
        return {peer["name"]: peer["state"] for peer in peerctl.json("testbed", "status")["peers"]}

    added = peerctl("testbed", "add", "zoe")
    assert added.exit_code == 0, added.output
    assert added.stdout.splitlines() == [
        "1 of 1 peers are up", "5 of 5 peers see all others", "zoe is up, and all see each other",
    ]  # fmt: skip
    config = tomllib.loads((folder / "zoe.toml").read_text())
    assert (config["mixing"]["hops"], config["mixing"]["mean_delay_seconds"]) == (2, 0.007)
    assert list(peerctl.json("--all", "status")) == ["alice", "bob", "carol", "dora", "zoe"]
    assert "there is a peer of this name" in peerctl.error(4, "testbed", "add", "zoe")

    assert peerctl.json("testbed", "kill", "bob") == {"dir": str(folder), "peer": "bob", "state": "down"}
    assert peerctl.json("testbed", "freeze", "carol")["state"] == "frozen"
    assert states() == {"alice": "up", "bob": "down", "carol": "frozen", "dora": "up", "zoe": "up"}
    assert "bob does not run" in peerctl.error(4, "testbed", "freeze", "bob")
    assert "alice runs already" in peerctl.error(4, "testbed", "start", "alice")
    assert "no peer 'zed'" in peerctl.error(3, "testbed", "thaw", "zed")
    assert peerctl("testbed", "thaw", "carol").stdout == "carol goes on\n"
    assert peerctl("testbed", "start", "bob").stdout.endswith("bob is up, and all see each other\n")

    assert peerctl("testbed", "stop", "dora").stdout == "dora has drained and ended\n"
    assert peerctl("testbed", "stop", "bob", "--term").stdout == "bob has ended\n"
    assert states() == {"alice": "up", "bob": "down", "carol": "up", "dora": "down", "zoe": "up"}
    assert peerctl.json("testbed", "down")["killed"] == []
    assert "peerctl testbed up" in peerctl.error(4, "testbed", "add", "yan", "--dir", str(folder))
    assert left_running() == []


def test_one_that_does_not_drain_is_ended_all_the_same(peerctl: Any, folder: Path, standin: Any) -> None:
    standin(bob={"clinging": 1})
    peerctl("testbed", "up", "--dir", str(folder), "--peers", "3", "--hops", "1")
    assert peerctl("testbed", "stop", "bob").stdout == "bob did not drain; it was ended\n"


def test_a_run_in_a_testbed_is_announced_by_its_operator(peerctl: Any, folder: Path) -> None:
    """One peer is asked; the others hear of it."""
    peerctl("testbed", "up", "--dir", str(folder), "--peers", "3", "--hops", "1")
    result = peerctl("run", "start", "--rounds", "2", "--wait")
    assert result.exit_code == 0, result.output
    assert "signed by ops" in result.stdout
    assert peerctl("--all", "run", "watch").exit_code == 0
    runs = peerctl.json("--all", "run", "show")
    assert [run["announced"] for run in runs.values()] == [True] * 3
    assert len({run["spec"]["run_id"] for run in runs.values()}) == 1
    assert runs["bob"]["spec"]["shards"] == 3
