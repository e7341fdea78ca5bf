"""Real processes: none is mistaken for another, and none survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctl.testbed.processes import PeerExitedError, Process, how_it_ended, spawn, tail, terminate

SECONDS = 10.0
PAUSE = "import signal; print('ready', flush=True); signal.pause()"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\nwhile True: time.sleep(60)"
)
PARENT = (
    "import subprocess, sys, signal\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "print(child.pid, flush=True)\n"
    "signal.pause()"
)


class Spawner:
    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.children: list[subprocess.Popen[bytes]] = []

    def __call__(self, code: str) -> Process:
        """Started, and past its first line of output."""
        child = spawn([sys.executable, "-c", code], self.log)
        self.children.append(child)
        process = Process.of(child.pid)
        wait_for(lambda: bool(tail(self.log, 1)))
        return process


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Spawner]:
    spawner = Spawner(tmp_path)
    yield spawner
    for child in spawner.children:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def test_sigterm_is_enough(start: Spawner) -> None:
    process = start(PAUSE)
    assert process.alive
    assert terminate([process], SECONDS) == []
    assert not process.alive
    assert start.children[0].wait() == -signal.SIGTERM


def test_the_deaf_are_killed_after_the_bound(start: Spawner) -> None:
    deaf = start(DEAF)
    began = time.monotonic()
    assert terminate([deaf], 0.3) == [deaf]
    assert 0.3 <= time.monotonic() - began < SECONDS
    assert not deaf.alive
    assert start.children[0].wait() == -signal.SIGKILL


@pytest.mark.parametrize("before", ["alive", "zombie", "reaped"])
def test_children_of_the_process_go_with_it(start: Spawner, before: str) -> None:
    process = start(PARENT)
    child = Process.of(int(tail(start.log, 1)[0]))
    assert child.alive
    if before != "alive":  # killed by somebody else; its child is an orphan now
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not process.alive)
    if before == "reaped":
        start.children[0].wait()
    terminate([process], SECONDS)
    wait_for(lambda: not child.alive)


def test_a_process_of_the_same_pid_is_not_touched(start: Spawner) -> None:
    process = start(PAUSE)
    earlier = Process(process.pid, "another boot:1")
    assert not earlier.alive
    assert terminate([earlier], 0.1) == []
    assert process.alive


def test_a_zombie_is_dead(start: Spawner) -> None:
    process = start(PAUSE)
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not process.alive)  # nobody has waited for it yet
    assert start.children[0].wait() == -signal.SIGKILL
    assert not process.alive


def test_it_runs_in_a_session_of_its_own(start: Spawner) -> None:
    process = start(PAUSE)
    assert os.getsid(process.pid) == process.pid == os.getpgid(process.pid)


def test_a_signal_does_not_interrupt_the_end(start: Spawner) -> None:
    deaf = start(DEAF)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    previous = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        assert terminate([deaf], 0.3) == [deaf]
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 3) == []
    log.write_bytes(b"one\ntwo \xff\nthree")
    assert tail(log, 2) == ["two \ufffd", "three"]
    assert tail(log, 0) == []
    log.write_bytes(b"x" * 10_000_000 + b"\nlast\n")
    assert tail(log, 1) == ["last"]


def test_how_it_ended(tmp_path: Path) -> None:
    assert how_it_ended(4) == "ended with exit code 4"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(-99) == "was killed by signal 99"
    (tmp_path / "log").write_text("boom\n")
    error = PeerExitedError("carol", how_it_ended(None), tmp_path / "log", None)
    assert str(error) == "carol has ended"
    assert error.tail == ["boom"]
