"""Daemon processes: started in sessions of their own, recognised again later, surely ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from ctl.aio import uninterrupted
from peerd.errors import PeerdError

TERM_SECONDS = 10.0
"""After SIGTERM, until SIGKILL."""
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02
TAIL_LINES = 15
MAX_TAIL_BYTES = 64 * 1024


class PeerExitedError(PeerdError):
    """A daemon ended by itself. `tail` has the last lines of its log."""

    def __init__(self, name: str, how: str, log: Path, code: int | None) -> None:
        super().__init__(f"{name} {how}")
        self.tail = tail(log, TAIL_LINES)
        self.code = code


class Process(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    mark: str
    """When it was started, to the tick, and in which boot."""

    @classmethod
    def of(cls, pid: int) -> Process:
        """Of one's own child that has not been waited for, so that the pid is certainly its own."""
        found = _look(pid)
        return cls(pid, "gone" if found is None else found.mark)

    @property
    def alive(self) -> bool:
        """A zombie is not."""
        found = _look(self.pid)
        return found is not None and found.mark == self.mark and not found.zombie

    @property
    def frozen(self) -> bool:
        """By SIGSTOP."""
        found = _look(self.pid)
        return found is not None and found.mark == self.mark and found.stopped

    @property
    def replaced(self) -> bool:
        """Another process has the pid now."""
        found = _look(self.pid)
        return found is not None and found.mark != self.mark


class _Found(NamedTuple):
    mark: str
    zombie: bool
    stopped: bool


def _look(pid: int) -> _Found | None:
    """The process that has this pid now."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    if stat is not None:
        state, *fields = stat.rpartition(")")[2].split()
        boot = _read(Path("/proc/sys/kernel/random/boot_id")) or ""
        # Field 22 of proc(5) is the start time in ticks since boot.
        return _Found(f"{boot.strip()}:{fields[18]}", state in "ZX", state in "Tt")
    try:
        process = psutil.Process(pid)  # no /proc: not Linux
        status = process.status()
        return _Found(
            str(process.create_time()), status == psutil.STATUS_ZOMBIE, status == psutil.STATUS_STOPPED
        )
    except psutil.Error:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a daemon that no terminal's signal reaches; stdout and stderr are appended to `log`."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def terminate(processes: Sequence[Process], patience: float = TERM_SECONDS) -> list[Process]:
    """End them all, and whatever they started: SIGTERM to each, after `patience` seconds SIGKILL to
    its whole process group. Returns those that had to be killed. Not to be interrupted."""
    with uninterrupted():
        running = [process for process in processes if process.alive]
        for process in running:
            _signal(process, signal.SIGTERM)
            signal_all(process, signal.SIGCONT)  # one that is frozen would not hear it
        stubborn = _wait_gone(running, patience)
        for process in processes:
            # While a group has members, its number is not given to a new process: if nobody else has
            # the pid, the group is still the daemon's own, also when only orphans are left in it.
            if not process.replaced:
                _kill_group(process.pid)
        _wait_gone(stubborn, KILL_SECONDS)
        return stubborn


def wait_frozen(process: Process, patience: float = 5.0) -> None:
    """The kernel stops a process a moment after the signal: there is no event for it."""
    deadline = time.monotonic() + patience
    while process.alive and not process.frozen and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def signal_all(process: Process, number: signal.Signals) -> None:
    """To a daemon and whatever it has started, its trainer above all. Nothing happens to one that is gone."""
    for one in (process, *started_by(process)):
        if one.alive:
            _signal(one, number)


def started_by(process: Process) -> list[Process]:
    """Its children, theirs, and so on."""
    if not process.alive:
        return []
    try:
        return [Process.of(child.pid) for child in psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        return []


def kill(process: Process, patience: float = KILL_SECONDS) -> bool:
    """SIGKILL to the daemon alone: what it has started must notice by itself. False: it is still there
    after so many seconds."""
    if process.alive:
        _signal(process, signal.SIGKILL)
    return not _wait_gone([process], patience)


def _wait_gone(processes: Sequence[Process], patience: float) -> list[Process]:
    deadline = time.monotonic() + patience
    left = [process for process in processes if process.alive]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = [process for process in left if process.alive]
    return left


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def how_it_ended(code: int | None) -> str:
    """In words, for subprocess's return codes."""
    if code is None:
        return "has ended"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code}"


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a file, at most 64 KiB of it; none when it cannot be read."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - MAX_TAIL_BYTES))
            text = file.read(MAX_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:] if lines > 0 else []
