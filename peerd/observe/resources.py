"""CPU seconds and resident memory, of this process and of a child; CPU seconds by stage of a run; room on the
disk and for files."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def process_usage(pid: int | None = None) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process, by default this one; zeros where it is gone.

    CPU is user and system time of all threads, without children, in steps of a clock tick (10 ms).
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss
    except psutil.Error:
        return 0.0, 0


def disk_space(folder: Path) -> tuple[int, int] | None:
    """(free for this user, size) of the file system of a folder, in bytes; None where it does not say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def open_files() -> tuple[int, int] | None:
    """(open, limit) file descriptors of this process; None where the system does not say."""
    try:
        return psutil.Process().num_fds(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (psutil.Error, AttributeError, OSError):
        return None


class StageClock:
    """This process's CPU seconds by stage of a run, so that one sees what relaying costs when."""

    def __init__(self, stage: str = "idle", cpu: Callable[[], float] = time.process_time) -> None:
        self._stage = stage
        self._cpu = cpu
        self._since = cpu()
        self._spent: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        """What was spent since the last change is charged to the stage that ends."""
        self._charge()
        self._stage = stage

    def spent(self) -> dict[str, float]:
        """CPU seconds by stage, up to now."""
        self._charge()
        return dict(self._spent)

    def _charge(self) -> None:
        now = self._cpu()
        self._spent[self._stage] = self._spent.get(self._stage, 0.0) + now - self._since
        self._since = now
