"""The churn of a run across an emulated WAN: each peer in a network namespace of its own, 40 ms and 1 % loss
between any two, some join late, leave, are killed, come back, are frozen, and then the network is cut in two.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import Wan, why_not

from ctl import tomlfile
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.notices import Signer
from peerd.config import NetworkConfig
from peerd.membership import Authority
from peerd.membership.records import run_spec_message
from peerd.types import RunSpec

WHY = why_not()
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))
NAMES = ("alice", "bob", "carol", "dora", "erin", "frank", "grace", "heidi", "ivan", "judy")
PORT = 9101
RUN_ID = "ab" * 16
JOIN_SECONDS = 8.0
"""The run is started on one peer; the others hear of it. Who is late has to be later than this."""


@dataclass(frozen=True)
class Plan:
    """Whom it happens to, by number of rounds that the first peer has closed."""

    peers: int
    rounds: int
    """More than the quickest machine can do while the halves are apart."""
    training: dict[str, Any]
    """Task and what takes its time."""
    late: tuple[str, ...]
    leavers: tuple[str, ...]
    killed: tuple[str, ...]
    """The first of them comes back."""
    frozen: str
    freeze_seconds: float
    partition_seconds: float


PACED = {"task": "paced:make", "task_options": {"seconds": "1.0"}}
DIGITS = {"task": "digits-cnn", "local_epochs": 60, "learning_rate": 3e-3}
QUICK = Plan(6, 24, PACED, ("frank",), (), ("erin",), "", 0.0, 14.0)
WHOLE = Plan(10, 40, DIGITS, ("ivan", "judy"), ("heidi", "grace"), ("frank", "erin"), "dora", 20.0, 30.0)


class Network:
    """Daemons in the namespaces; control sockets in the file system, which namespaces share."""

    def __init__(self, wan: Wan, folder: Path, plan: Plan) -> None:
        self.wan = wan
        self.folder = folder
        self.names = NAMES[: plan.peers]
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        authority = Authority.create(folder / "network", NetworkConfig(name="wan"))
        for name in self.names:
            address = f"{wan.address(name)}:{PORT}"
            authority.enroll_local(name, address, folder / name)
            settings: dict[str, Any] = {
                "link": {"listen": address},
                "control": {"unix": str(folder / f"{name}.sock")},
                "mixing": {"hops": 1},  # halves of a partition have few mix nodes
                "training": {"tasks": ["digits-cnn", "paced:make"], "task_path": str(Path(__file__).parent)},
            }
            tomlfile.write(folder / f"{name}.toml", settings)
        self.signer = Signer.load(authority.operator("ops", "admin", folder / "ops"))

    def start(self, name: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = self.wan.popen(
            name,
            [
                sys.executable, "-m", "peerd", "run", "--state-dir", str(self.folder / name),
                "--config", str(self.folder / f"{name}.toml"),
                "--bundle", str(self.folder / "network" / "bundles" / f"{name}.bundle"),
            ],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def signal(self, name: str, number: int) -> None:
        os.kill(self.processes[name].pid, number)

    def ask(self, name: str, call: Callable[[Client], Any], patience: float = 10.0) -> Any:
        async def once() -> Any:
            async with Client(Endpoint(name, f"unix:{self.folder / name}.sock"), patience) as client:
                return await call(client)

        return asyncio.run(once())

    def drain(self, name: str) -> None:
        async def follow(client: Client) -> list[str]:
            return [progress.state async for progress in client.drain(60.0, False)]

        assert self.ask(name, follow, 90.0)[-1] == "drained"
        assert self.processes[name].wait(20) == 0

    def wait_serving(self, name: str) -> None:
        self.ask(name, Client.wait_serving, 60.0)


@pytest.fixture
def until_true():
    def wait(what: str, condition: Callable[[], Any], seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"never: {what}"
            time.sleep(0.3)
        return value

    return wait


def churn(plan: Plan, folder: Path, wan: Wan, until) -> None:
    net = Network(wan, folder, plan)
    at_once = [name for name in net.names if name not in plan.late]
    for name in at_once:
        net.start(name)
    for name in at_once:
        net.wait_serving(name)
    others = len(at_once) - 1
    met = lambda: all(net.ask(name, Client.status).peers_alive == others for name in at_once)  # noqa: E731
    until("all see each other", met, 90)
    first = at_once[0]
    spec = RunSpec(
        run_id=RUN_ID, rounds=plan.rounds, seed=1, grace_seconds=5.0, round_timeout_seconds=60.0,
        shards=plan.peers, **plan.training,
    )  # fmt: skip
    notice = net.signer.started("wan", spec, JOIN_SECONDS)
    net.ask(first, lambda client: client.start_run(run_spec_message(spec), notice))

    def closed(number: int) -> None:
        until(f"round {number}", lambda: len(net.ask(first, Client.run).results) >= number, 120)

    for name in plan.late:
        closed(1)
        net.start(name)
        net.wait_serving(name)
    for name in plan.leavers:
        closed(3)
        net.drain(name)
    for name in plan.killed:
        closed(4)
        net.signal(name, signal.SIGKILL)
        net.processes[name].wait()
    closed(5)
    back, *gone = plan.killed
    net.start(back)
    net.wait_serving(back)
    if plan.frozen:
        net.signal(plan.frozen, signal.SIGSTOP)
        time.sleep(plan.freeze_seconds)  # what is tested is that so long a freeze does not matter
        net.signal(plan.frozen, signal.SIGCONT)
    living = [name for name in net.names if name not in (*plan.leavers, *gone)]
    half = len(living) // 2
    wan.partition(tuple(living[:half]), tuple(living[half:]))
    time.sleep(plan.partition_seconds)
    states = {name: net.ask(name, Client.run).state for name in living}
    assert "finished" not in states.values(), "the run is too short for so quick a machine: nothing to merge"
    wan.heal()

    def ended() -> Any:
        runs = {name: net.ask(name, Client.run) for name in living}
        assert {run.state for run in runs.values()} <= {"starting", "running", "finished"}, runs
        return runs if all(run.state == "finished" for run in runs.values()) else None

    runs = until("all have finished", ended, 10 * plan.rounds)
    for name, run in runs.items():  # shown where something below does not hold
        print(name, run.contributes_from, run.rounds_skipped, run.model_digest[:8])
        for r in run.results:
            how = f"{r.closed_by}{', listened' if r.listened else ''}"
            got = f"{r.fragments_received}/{r.fragments_expected} of {r.cohort}"
            print(f"    {r.round} {how} {got} {r.exchange_seconds:.1f} s {r.accuracy:.3f}")
    # Who only listened in the end has the others' mean without its own update.
    last = [run for run in runs.values() if not run.results[-1].listened]
    assert len(last) >= 4
    assert len({run.model_digest for run in last}) == 1, "one model in the end"
    assert all(run.results[-1].accuracy > 0.9 for run in runs.values())
    for name in living:
        status = net.ask(name, Client.status)
        assert status.traffic.gave_up == 0, name
        assert status.peers_alive == len(living) - 1, name


def namespaces() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines() if line.strip()}


def across(plan: Plan, name: str, folder: Path, until) -> None:
    before = namespaces()
    with Wan(hosts=NAMES[: plan.peers], name=name, delay=0.04, jitter=0.01, loss=0.01) as wan:
        churn(plan, folder, wan, until)
    assert namespaces() == before


@pytest.mark.timeout(420)
def test_a_run_survives_churn_and_a_partition_across_a_wan(tmp_path, until_true):
    across(QUICK, "quick", tmp_path, until_true)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_peers_in_a_run_across_a_wan(tmp_path, until_true):
    across(WHOLE, "whole", tmp_path, until_true)
