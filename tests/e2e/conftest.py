"""The programs as a user runs them: `peerctl` and `peerd` as real processes. Only what is asked very often is
asked by the control API itself."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ctl.client import Client
from ctl.testbed import Testbed

BIN = Path(sys.executable).parent
PACED = "paced:make"
"""A task of testbeds that were started with `paced`, see `paced.py`."""
PACED_CONFIG = f"""
[training]
tasks = ["{PACED}"]
task_path = "{Path(__file__).parent}"
[metrics]
detail = "full"
"""


class Programs:
    """Runs the programs with a home of their own, so that the developer's contexts stay out of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_RUNTIME_DIR": "",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.environment.pop("PEERCTL_CONTEXTS", None)

    def run(self, *arguments: str | Path, timeout: float = 110) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, arguments)),
            capture_output=True, text=True, timeout=timeout, env=self.environment, cwd=self.home,
        )  # fmt: skip

    def ok(self, *arguments: str | Path, timeout: float = 110) -> str:
        done = self.run(*arguments, timeout=timeout)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path, timeout: float = 110) -> Any:
        return json.loads(self.ok("peerctl", "--output", "json", *arguments, timeout=timeout))

    def fails(self, code: int, *arguments: str | Path) -> str:
        """The one line on stderr with which it fails."""
        done = self.run(*arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        return lines[0]


@pytest.fixture(scope="session")
def make_programs() -> type[Programs]:
    return Programs


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("home"))


@pytest.fixture
def until() -> Callable[..., Any]:
    """Poll a condition of other processes, which have no event to wait for, until it is true."""

    def wait(condition: Callable[[], Any], seconds: float = 60.0, every: float = 0.2) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, "the condition never became true"
            time.sleep(every)
        return value

    return wait


class Running:
    """A testbed in a folder; whoever has it takes it down."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder = folder
        self._programs = programs

    def up(self, peers: int, *options: str | Path, paced: bool = False) -> None:
        """`paced`: for runs whose training is not looked at, see `paced.py`."""
        if paced:
            config = self.folder.with_suffix(".toml")
            config.write_text(PACED_CONFIG)
            options = (*options, "--config", config)
        self._programs.ok("peerctl", "testbed", "up", "--dir", self.folder, "--peers", peers, *options)

    def down(self) -> None:
        self._programs.run("peerctl", "testbed", "down", "--dir", self.folder)

    def start_paced(self, rounds: int, *options: str | Path, seconds: float = 0.5) -> None:
        """On all peers; `seconds` is what each round's training takes."""
        self.ask("--all", "run", "start", "--task", PACED, "-O", f"seconds={seconds}", "--rounds", rounds,
                 *options)  # fmt: skip

    def ask(self, *arguments: str | Path | int) -> Any:
        return self._programs.json("--testbed", self.folder, *arguments)

    def call(self, name: str, call: Callable[[Client], Awaitable[Any]], patience: float = 10.0) -> Any:
        """One call on a peer, without a process for it."""
        endpoint = next(e for e in Testbed.load(self.folder).endpoints if e.name == name)

        async def once() -> Any:
            async with Client(endpoint, patience) as client:
                return await call(client)

        return asyncio.run(once())

    def pids(self) -> dict[str, int]:
        record = json.loads((self.folder / "testbed.json").read_text())
        return {peer["name"]: peer["process"]["pid"] for peer in record["peers"]}


@pytest.fixture(scope="session")
def make_testbed() -> type[Running]:
    return Running


@pytest.fixture
def testbed(programs: Programs, tmp_path: Path):
    """To start N peers with; always taken down."""
    running = Running(tmp_path / "tb", programs)
    yield running
    running.down()


class Daemon:
    """A peerd beside the testbed's own."""

    def __init__(
        self, folder: Path, programs: Programs, *options: str | Path, program: Sequence[str | Path]
    ) -> None:
        self.log = folder / "daemon.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, "run", "--state-dir", folder, *options],
                stdout=log, stderr=subprocess.STDOUT, env=programs.environment,
            )  # fmt: skip

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def beside(programs: Programs):
    """Start further daemons; all are ended."""
    started: list[Daemon] = []

    def start(folder: Path, *options: str | Path, program: Sequence[str | Path] = ("-m", "peerd")) -> Daemon:
        started.append(Daemon(folder, programs, *options, program=program))
        return started[-1]

    yield start
    for daemon in started:
        daemon.end()
