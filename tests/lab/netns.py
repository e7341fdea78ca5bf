"""Network namespaces as `ip netns` keeps them, what runs in them, and the lock of a network's name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TUN = Path("/dev/net/tun")
_FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_POLL_SECONDS = 0.02
# What the programs in the hosts have, from SIGTERM, to end by themselves.
_TERM_SECONDS = 3.0
_KILL_SECONDS = 5.0


class LabError(Exception):
    """The network cannot be made, or has broken down."""


def why_not() -> str | None:
    """Why this machine cannot make networks, in one line; None if it can."""
    if sys.platform != "linux":
        return f"network namespaces need Linux, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if _program() is None:
        return "the program `ip` is missing (package iproute2)"
    if not TUN.exists():
        return f"{TUN} is missing"
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{TUN} cannot be opened: {error.strerror}"
    try:  # root of a container may lack the capability; to enter where one is already changes nothing
        home = _open("/proc/thread-self/ns/net")
        try:
            _setns(home)
        finally:
            os.close(home)
    except OSError as error:
        return f"network namespaces cannot be entered: {error.strerror}"
    return None


def _program() -> str | None:
    """The path of `ip`, which the PATH of a service often lacks."""
    return shutil.which(
        "ip", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    )


def ip(*arguments: str, batch: str = "") -> None:
    """Run `ip`, with `batch` on its standard input. Raises LabError with what it said."""
    program = _program() or "ip"
    done = subprocess.run([program, *arguments], input=batch, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")


def space_of(name: str, host: str) -> str:
    """The namespace of a host. Neither part may have a dot, so no network's names begin with another's."""
    return f"peerdlab.{name}.{host}"


def spaces_of(name: str) -> list[str]:
    """The namespaces of the network that exist."""
    prefix = space_of(name, "")
    return sorted(p.name for p in _FOLDER.iterdir() if p.name.startswith(prefix)) if _FOLDER.is_dir() else []


@contextlib.contextmanager
def entered(space: str) -> Iterator[None]:
    """Put the calling thread, and no other, into the namespace; what it opens or starts there stays there.

    Raises OSError (FileNotFoundError when the namespace is gone).
    """
    home = _open("/proc/thread-self/ns/net")
    try:
        there = _open(_FOLDER / space)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _open(path: Path | str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _setns(fd: int) -> None:
    """`os.setns`, which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def locked(name: str, seconds: float) -> Iterator[None]:
    """Hold the name of a network, for which one waits at most so long. Raises LabError.

    An abstract Unix socket is the lock: it ends with the process that holds it, and leaves no file.
    """
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        while True:
            try:
                lock.bind(f"\0{space_of(name, 'lock')}")
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise LabError(f"a network {name!r} is up already, for another process") from None
                time.sleep(_POLL_SECONDS)
        yield


def remove(name: str) -> None:
    """End everything that runs in the hosts of the network, and remove them. The caller holds its lock.

    Raises LabError, after all the rest is done, for what would not go.
    """
    spaces = spaces_of(name)
    if not _end(spaces, signal.SIGTERM, _TERM_SECONDS):
        _end(spaces, signal.SIGKILL, _KILL_SECONDS)
    failures = []
    for space in spaces:
        try:
            ip("netns", "delete", space)
        except LabError as error:
            failures.append(str(error))
    if failures:
        raise LabError("; ".join(failures))


def _end(spaces: list[str], kind: signal.Signals, patience: float) -> bool:
    """Send the signal to all that runs there; whether nothing runs there any more within so many seconds."""
    for pid in _processes(spaces):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if pid in _processes(spaces):  # the number was not given to another process meanwhile
                    signal.pidfd_send_signal(handle, kind)
                    # a test may have stopped it, and a stopped process does not act on SIGTERM
                    signal.pidfd_send_signal(handle, signal.SIGCONT)
            finally:
                os.close(handle)
    deadline = time.monotonic() + patience
    while _processes(spaces):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _processes(spaces: list[str]) -> set[int]:
    """The processes in these namespaces; zombies are in none."""
    inodes = {_inode(_FOLDER / space) for space in spaces} - {_inode(Path("/proc/self/ns/net")), None}
    if not inodes:
        return set()
    numbers = (p for p in Path("/proc").iterdir() if p.name.isdigit())
    return {int(p.name) for p in numbers if _inode(p / "ns/net") in inodes}


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # the process has ended
        return None
    return found.st_dev, found.st_ino
