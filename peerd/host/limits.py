"""What the host lets this process have: open files and memory, and whether that is enough for a peer.

A limit that is too low shows late and badly: links that cannot be opened, a daemon that the kernel kills. So
it is looked at when the daemon starts, and again as the network grows.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MEBIBYTE = 1 << 20
FILES_FOR_ITSELF = 256
"""Listeners, logs, the trainer, a few dozen connections of this host's own operators."""
FILES_FOR_A_PEER = 3
"""A link each way, and one that is being dialled or replaced."""
DAEMON_BYTES = 160 * MEBIBYTE
TRAINER_BYTES = 480 * MEBIBYTE
"""torch, and a model of a million floats."""
FILTER_BYTES_PER_TAG = 4.1
MILLION = 1_000_000
"""Replay tags are counted in these; the least that is worth advising."""
FILTERS = 2
"""That may be full at a time: the epoch's own, and in its grace the last one's."""

PROC_CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
NR_OPEN = Path("/proc/sys/fs/nr_open")


def raise_file_limit() -> int:
    """Take as many open files as this process may have, and say how many. The soft limit is for programs
    that use select(); nothing here does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _nr_open() if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and wanted <= soft:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a sandbox that forbids it: the limit is what it was
        return soft if soft != resource.RLIM_INFINITY else wanted
    return wanted


def _nr_open() -> int:
    """What the kernel allows any process."""
    try:
        return int(NR_OPEN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1 << 20


def memory_limit(of: Path = PROC_CGROUP, mounted: Path = CGROUPS) -> int | None:
    """Bytes that the control group of this process may use, the least of it and those above; None: no limit,
    or none that can be read. Version 2, and version 1 with its memory controller."""
    try:
        lines = of.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [limit for line in lines for limit in _limits_of(line, mounted)]
    return min(found, default=None)


def _limits_of(line: str, mounted: Path) -> list[int]:
    """Of one line of /proc/self/cgroup: `number:controllers:path`."""
    number, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if number == "0" and not controllers:
        root, name = mounted, "memory.max"
    elif "memory" in controllers.split(","):
        root, name = mounted / "memory", "memory.limit_in_bytes"
    else:
        return []
    folder = root / path.lstrip("/")
    if ".." in folder.parts:  # another namespace's: what is above us is mounted as the root
        folder = root
    folders = [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]
    return [limit for folder in folders if (limit := _read_limit(folder / name)) is not None]


def _read_limit(path: Path) -> int | None:
    """Version 1 says "no limit" with a number that no machine has."""
    try:
        limit = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max", or no such file
        return None
    return limit if 0 < limit < 1 << 60 else None


@dataclass(frozen=True, slots=True)
class Shortage:
    limit: Literal["files", "memory"]
    detail: str
    """What is too low for what, and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What this process has: `files` open at a time, `memory` bytes (None: no limit)."""

    files: int
    memory: int | None

    def shortages(
        self, others: int, replay_capacity: int, *, trains: bool, connections: int = 0
    ) -> Iterator[Shortage]:
        """What is too little for a peer among so many other members; `connections`: those that anybody may
        open to it."""
        if (files := self._files(others, connections)) is not None:
            yield Shortage("files", files)
        if (memory := self._memory(replay_capacity, trains)) is not None:
            yield Shortage("memory", memory)

    def _files(self, others: int, connections: int) -> str | None:
        need = FILES_FOR_ITSELF + connections + FILES_FOR_A_PEER * others
        if self.files >= need:
            return None
        return (
            f"{self.files} open files are too few for a network of {others + 1} peers, which takes {need}: "
            "raise the hard limit (LimitNOFILE= of the unit, ulimit -Hn)"
        )

    def _memory(self, replay_capacity: int, trains: bool) -> str | None:
        if self.memory is None:
            return None
        has, need = self.memory // MEBIBYTE, DAEMON_BYTES + (TRAINER_BYTES if trains else 0)
        if self.memory < need:
            doing = "relays and trains" if trains else "relays"
            instead = ', or set [training] join = "manual" and only relay' if trains else ""
            return (
                f"{has} MiB of memory are little for a peer that {doing}, which takes {need // MEBIBYTE} "
                f"and more: raise the limit (MemoryMax= of the unit, the container's){instead}"
            )
        room = self.memory - need
        fits = max(int(room / (FILTERS * FILTER_BYTES_PER_TAG)) // MILLION * MILLION, MILLION)
        if replay_capacity <= fits:
            return None
        return (
            f"{has} MiB of memory do not hold full replay filters: set [relay] replay_capacity to {fits} "
            f"(now {replay_capacity}), or raise the limit"
        )
