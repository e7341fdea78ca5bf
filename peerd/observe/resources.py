"""CPU seconds and resident memory, of this process and of a child; CPU seconds by stage."""

from __future__ import annotations

import time

import psutil


def process_usage(pid: int | None = None) -> tuple[float, int]:
    """(CPU seconds, resident bytes) of a process, by default this one; zeros where it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return times.user + times.system, process.memory_info().rss
    except psutil.Error:
        return 0.0, 0


class StageClock:
    """The daemon's CPU seconds in each stage of a run, so that one sees what relaying costs when."""

    def __init__(self, stage: str = "idle") -> None:
        self.stage = stage
        self._since = time.process_time()
        self._spent: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        self._charge()
        self.stage = stage

    def spent(self) -> dict[str, float]:
        """CPU seconds by stage, up to now."""
        self._charge()
        return dict(self._spent)

    def _charge(self) -> None:
        now = time.process_time()
        self._spent[self.stage] = self._spent.get(self.stage, 0.0) + now - self._since
        self._since = now
