"""The programs as a user runs them: `peerctl` and `peerd` as real processes, nothing imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent


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


@pytest.fixture
def testbed(programs: Programs, tmp_path: Path):
    """Start a testbed of N peers; always taken down."""
    folder = tmp_path / "tb"

    class Running:
        def __init__(self) -> None:
            self.folder = folder

        def up(self, peers: int, *options: str) -> None:
            programs.ok("peerctl", "testbed", "up", "--dir", folder, "--peers", peers, *options)

        def ask(self, *arguments: str | Path) -> Any:
            return programs.json("--testbed", folder, *arguments)

        def pids(self) -> dict[str, int]:
            record = json.loads((folder / "testbed.json").read_text())
            return {peer["name"]: peer["process"]["pid"] for peer in record["peers"]}

    yield Running()
    programs.run("peerctl", "testbed", "down", "--dir", folder)
