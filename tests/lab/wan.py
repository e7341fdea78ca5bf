"""What a test holds of a network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import netns
from lab.netns import LabError
from lab.report import LinkStatus, Status

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HOSTS_MAX = 254
# The keeper waits for the name of the network half as long, and then needs about 30 ms for each host.
_START_SECONDS = 60.0
_ANSWER_SECONDS = 10.0
# The keeper gives programs 3 s from SIGTERM and 5 s from SIGKILL.
_STOP_SECONDS = 20.0
_REAP_SECONDS = 5.0


class Wan:
    """Hosts in namespaces of their own, each pair joined by a link that delays and loses frames.

    `delay` is one way, in seconds; `jitter` is by how much it varies either way, in seconds, without frames
    overtaking each other; `loss` is the probability of a frame's loss. They hold for every direction of every
    pair. Each host has `lo` and one IPv4 address; the hosts reach each other and nothing else, and nothing
    else reaches them. Only the network is theirs alone: files, and so Unix sockets, are everyone's.

    A network takes the place of one of the same `name` whose process was killed; while that is still up, the
    new one waits for it. The methods block for some milliseconds, the start for some more.

    Use it as a context manager. At its end everything that still runs in the hosts is ended (SIGTERM, then
    SIGKILL) and all is removed; the same happens, a little later, when this process is killed.
    """

    def __init__(
        self, hosts: Collection[str], name: str, *, delay: float = 0.0, jitter: float = 0.0, loss: float = 0.0
    ) -> None:
        """Raises ValueError; makes nothing yet."""
        self.name = name
        self.hosts = tuple(hosts)
        for word in (name, *self.hosts):
            if not _NAME.fullmatch(word):
                raise ValueError(f"{word!r} is no name: it takes 1 to 32 letters, digits, '-' and '_'")
        if len(set(self.hosts)) != len(self.hosts):
            raise ValueError("two hosts have the same name")
        if not 1 <= len(self.hosts) <= _HOSTS_MAX:
            raise ValueError(f"a network has 1 to {_HOSTS_MAX} hosts")
        self._first = _settings(delay, jitter, loss)
        self._turn = threading.Lock()
        self._children: list[subprocess.Popen[Any]] = []
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Raises LabError when the network cannot be made."""
        if (reason := netns.why_not()) is not None:
            raise LabError(reason)
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "lab.keeper", self.name, *self.hosts],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            start_new_session=True,  # a signal to the test's process group is not for it: it has to clean up
        )  # fmt: skip
        try:
            self._addresses = self._answer(_START_SECONDS)
            self._ask("set", **self._first)
        except LabError:
            self._close(None)  # raises, with what the keeper said
            raise
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises LabError when the network had broken down or not all of it would go."""
        self._close(error)

    def address(self, host: str) -> str:
        """The IPv4 address of the host. Raises KeyError."""
        return self._addresses[host]

    def popen(
        self, host: str, argv: Sequence[str | os.PathLike[str]], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program in the host; `options` are those of subprocess.Popen, and so are the errors.

        It is a child of this process like any other, with no program in between: namespaces are inherited.
        """
        with self.within(host):
            child = subprocess.Popen(argv, **options)
        self._children.append(child)
        return child

    def within(self, host: str) -> AbstractContextManager[None]:
        """Put the calling thread into the host: sockets made there belong to the host for good.

        Only for as long as it takes to make them, and never across an `await`: all tasks share the thread.
        Raises KeyError for an unknown host.
        """
        self.address(host)
        return netns.entered(netns.space_of(self.name, host))

    def set(
        self, *, delay: float | None = None, jitter: float | None = None, loss: float | None = None
    ) -> None:
        """Change all links; None leaves as it is. Frames that are on their way keep their times.

        Raises ValueError, and LabError when the network is not up.
        """
        self._ask("set", **_settings(delay, jitter, loss))

    def partition(self, *groups: Collection[str]) -> None:
        """Cut all links between the groups, also for the frames that are on their way.

        Cuts add up until `heal`. A host that is in no group keeps its links. Raises ValueError, and LabError
        when the network is not up.
        """
        named = [host for group in groups for host in group]
        if any(isinstance(group, str) for group in groups) or len(groups) < 2:
            raise ValueError("a partition needs two groups of hosts: partition(('a',), ('b', 'c'))")
        if unknown := set(named) - set(self.hosts):
            raise ValueError(f"no such hosts: {', '.join(sorted(unknown))}")
        if len(set(named)) != len(named):
            raise ValueError("a host is in two groups")
        self._ask("partition", groups=list(map(list, groups)))

    def heal(self) -> None:
        """Undo all partitions. Raises LabError when the network is not up."""
        self._ask("heal")

    def status(self) -> Status:
        """What each link is set to and has counted. Raises LabError when the network is not up."""
        found = self._ask("status")
        links = {(source, target): LinkStatus(**link) for source, target, link in found.pop("links")}
        return Status(links=links, **found)

    def _ask(self, what: str, **options: Any) -> Any:
        with self._turn:
            assert self._keeper.stdin is not None
            try:
                self._keeper.stdin.write(json.dumps({"what": what, **options}).encode() + b"\n")
            except (BrokenPipeError, ValueError):  # ValueError: closed
                raise LabError(f"network {self.name!r} is not up") from None
            return self._answer(_ANSWER_SECONDS)

    def _answer(self, seconds: float) -> Any:
        assert self._keeper.stdout is not None
        fd = self._keeper.stdout.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
                raise LabError(f"network {self.name!r} does not answer")
            if not (data := os.read(fd, 65536)):
                raise LabError(f"network {self.name!r} is not up")
            line += data
        return json.loads(line)

    def _close(self, pending: BaseException | None) -> None:
        """Take all down. What goes wrong is noted on the error that is on its way, or else raised."""
        keeper = self._keeper
        assert keeper.stdin is not None and keeper.stdout is not None and keeper.stderr is not None
        keeper.stdin.close()
        try:
            keeper.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        said = keeper.stderr.read().decode(errors="replace").strip()
        keeper.stdout.close()
        keeper.stderr.close()
        failures = []
        if keeper.returncode:
            failures.append(said or f"the keeper of network {self.name!r} ended with {keeper.returncode}")
            with contextlib.ExitStack() as held:
                try:  # the name may be another process's by now, and then nothing in it is ours
                    held.enter_context(netns.locked(self.name, 0))
                    netns.remove(self.name)
                except LabError as error:
                    failures.append(str(error))
        _reap(self._children)
        if not failures:
            return
        text = "; ".join(dict.fromkeys(failures))
        if pending is None:
            raise LabError(text)
        pending.add_note(text)


def _settings(delay: float | None, jitter: float | None, loss: float | None) -> dict[str, float | None]:
    for what, seconds in (("delay", delay), ("jitter", jitter)):
        if seconds is not None and not 0 <= seconds <= 60:
            raise ValueError(f"{what} is {seconds}, and must be 0 to 60 seconds")
    if loss is not None and not 0 <= loss <= 1:
        raise ValueError(f"loss is {loss}, and must be a probability")
    return {"delay": delay, "jitter": jitter, "loss": loss}


def _reap(children: Iterable[subprocess.Popen[Any]]) -> None:
    """Collect what has been ended, so that no zombie stays until the tests are over."""
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_REAP_SECONDS)
