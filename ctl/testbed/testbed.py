"""One testbed: a folder, its network, and its daemons.

DIR/testbed.json    names, addresses, sockets, processes: what `down` needs
DIR/contexts.toml   the control sockets, for `peerctl --testbed DIR --all ...`
DIR/network/        the authority
DIR/peers/NAME/     a daemon's state directory
DIR/NAME.toml       its configuration
DIR/logs/NAME.log   what it says
DIR/trace/NAME.jsonl  every packet's way, if the plan's configuration asks for traces
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ctl import tomlfile
from ctl.aio import together
from ctl.client import Client
from ctl.contexts import UNIX, Contexts, Endpoint
from ctl.targets import CONTEXTS_FILE
from ctl.testbed.plan import Plan, ReservedPorts, peer_names
from ctl.testbed.processes import PeerExitedError, Process, how_it_ended, spawn, terminate
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError

RECORD = "testbed.json"
MAX_RECORD_BYTES = 1 << 20
UNIX_PATH_BYTES = 100
"""Longer socket paths do not fit the kernel's address structure."""
POLL_SECONDS = 0.1

DEATH_SECONDS = 1.0
"""A dying daemon's connection goes first, the process a moment later."""

Progress = Callable[[str, bool], None]
"""Called with what has been reached, and whether that completes the step."""
T = TypeVar("T")


class Peer(msgspec.Struct):
    name: str
    address: str
    socket: str
    process: Process | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.name, f"{UNIX}{self.socket}")


class _Record(msgspec.Struct):
    peers: list[Peer]
    sockets: str = ""
    """A short folder for the control sockets, when DIR's path is too long for them."""


class Testbed:
    """`create` or `load`, then `start`; `down` ends every process, whatever happened before."""

    __test__ = False  # for pytest: a testbed is no test

    def __init__(self, folder: Path, record: _Record) -> None:
        self.folder = folder
        self._record = record
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # -- files ------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, plan: Plan, ports: ReservedPorts) -> Testbed:
        """A network of `plan.peers` enrolled peers in a new or empty folder; nothing runs yet."""
        folder = folder.resolve()
        if (folder / RECORD).exists():
            raise ConflictError(f"{folder}: a testbed lies here already")
        if folder.exists() and any(folder.iterdir()):
            raise ConflictError(f"{folder}: not empty, and not a testbed; name another folder")
        (folder / "logs").mkdir(parents=True)
        sockets = _socket_folder(folder, plan.peers)
        peers = [
            Peer(name, address, str(_socket(sockets or folder, name, short=bool(sockets))))
            for name, address in zip(peer_names(plan.peers), ports.addresses, strict=True)
        ]
        testbed = cls(folder, _Record(peers, str(sockets or "")))
        try:
            testbed._enrol(plan)
            testbed._write_contexts()
            testbed._save()
        except BaseException:
            testbed.remove()
            raise
        return testbed

    @classmethod
    def load(cls, folder: Path) -> Testbed:
        """NotFoundError where there is none."""
        folder = folder.resolve()
        path = folder / RECORD
        try:
            with path.open("rb") as file:
                record = msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=_Record)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"{folder}: no testbed here; make one with `peerctl testbed up`") from None
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: not a testbed's record: {error}") from None
        return cls(folder, record)

    def _save(self) -> None:
        tomlfile.write_text(self.folder / RECORD, msgspec.json.encode(self._record).decode())

    def _enrol(self, plan: Plan) -> None:
        from peerd.membership import Authority  # not for those commands that need no authority

        hops = max(plan.network.max_hops, plan.config.mixing.hops)
        network = msgspec.structs.replace(plan.network, max_hops=hops)
        authority = Authority.create(self.folder / "network", network)
        for peer in self._record.peers:
            state = self.state_dir(peer.name)
            state.mkdir(mode=0o700, parents=True)
            authority.enroll_local(peer.name, peer.address, state)

    def _write_contexts(self) -> None:
        first = self._record.peers[0].name
        endpoints = {endpoint.name: endpoint for endpoint in self.endpoints}
        Contexts(self.folder / CONTEXTS_FILE, first, endpoints).save()

    def remove(self) -> None:
        """Delete a testbed that is down: its own files, and the folder if nothing else is in it."""
        if self._record.sockets:
            shutil.rmtree(self._record.sockets, ignore_errors=True)
        for part in ("logs", "network", "peers", "trace"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        for file in (RECORD, CONTEXTS_FILE, *(f"{peer.name}.toml" for peer in self.peers)):
            (self.folder / file).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    # -- what is where ----------------------------------------------------------

    @property
    def peers(self) -> Sequence[Peer]:
        return tuple(self._record.peers)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(peer.endpoint for peer in self._record.peers)

    @property
    def running(self) -> list[str]:
        return [peer.name for peer in self._record.peers if peer.alive]

    def state_dir(self, name: str) -> Path:
        return self.folder / "peers" / name

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    # -- processes --------------------------------------------------------------

    async def start(
        self, plan: Plan, ports: ReservedPorts | None, patience: float, progress: Progress
    ) -> None:
        """Start those that do not run and wait until each one's health service says SERVING.

        PeerExitedError when one ends instead, UnavailableError after `patience` seconds. What was
        started is then still there: `down` is the caller's.
        """
        started = [peer for peer in self._record.peers if not peer.alive]
        for peer in started:
            self._launch(plan, peer, ports)
        ready = 0

        async def wait(endpoint: Endpoint) -> None:
            nonlocal ready
            async with Client(endpoint, patience) as client:
                await client.wait_serving()
            ready += 1
            progress(f"{ready} of {len(started)} peers are up", ready == len(started))

        try:
            async with asyncio.timeout(patience):
                await self.while_alive(together(*(wait(peer.endpoint) for peer in started)))
        except TimeoutError:
            raise UnavailableError(
                f"only {ready} of {len(started)} peers were up after {patience:.0f} s; "
                f"their logs are in {self.folder / 'logs'}"
            ) from None

    def _launch(self, plan: Plan, peer: Peer, ports: ReservedPorts | None) -> None:
        config = self.folder / f"{peer.name}.toml"
        trace = self.folder / "trace" / f"{peer.name}.jsonl"
        made = plan.peer_config(peer.address, Path(peer.socket), trace)
        tomlfile.write(config, msgspec.to_builtins(made))
        Path(peer.socket).unlink(missing_ok=True)
        command = [
            *plan.command,
            "run",
            *("--state-dir", str(self.state_dir(peer.name))),
            *("--config", str(config)),
            *("--bundle", str(self.folder / "network" / "bundles" / f"{peer.name}.bundle")),
        ]
        if ports is not None:
            ports.release(peer.address)
        child = spawn(command, self.log(peer.name))
        self._children[peer.name] = child
        peer.process = Process.of(child.pid)
        self._save()

    async def wait_connected(self, patience: float, progress: Progress) -> None:
        """Until every peer sees all others alive. PeerExitedError; UnavailableError after `patience`."""
        others = len(self._record.peers) - 1
        seen = dict.fromkeys((peer.name for peer in self._record.peers), 0)

        async def wait(endpoint: Endpoint) -> None:
            async with Client(endpoint, patience) as client:
                while (alive := (await client.status()).peers_alive) < others:
                    seen[endpoint.name] = alive
                    await asyncio.sleep(POLL_SECONDS)
                seen[endpoint.name] = alive
            done = sum(count >= others for count in seen.values())
            progress(f"{done} of {len(seen)} peers see all others", done == len(seen))

        try:
            async with asyncio.timeout(patience):
                await self.while_alive(together(*(wait(e) for e in self.endpoints)))
        except TimeoutError:
            poor = ", ".join(f"{name} {count}" for name, count in seen.items() if count < others)
            raise UnavailableError(
                f"not all {others} others alive after {patience:.0f} s, as seen by: {poor}"
            ) from None

    async def while_alive(self, work: Coroutine[Any, Any, T]) -> T:
        """`work`'s result; PeerExitedError as soon as one of the daemons has ended."""
        job, death = asyncio.create_task(work), asyncio.create_task(self._death())
        try:
            await asyncio.wait({job, death}, return_when=asyncio.FIRST_COMPLETED)
            if job.done() and isinstance(job.exception(), UnavailableError):
                await asyncio.wait({death}, timeout=DEATH_SECONDS)
            if death.done():
                raise death.result()
            return job.result()
        finally:
            job.cancel()
            death.cancel()
            await asyncio.gather(job, death, return_exceptions=True)

    async def _death(self) -> PeerExitedError:
        while True:  # the processes are looked at: they may be another peerctl's children
            if (dead := self.dead()) is not None:
                return dead
            await asyncio.sleep(POLL_SECONDS)

    def dead(self) -> PeerExitedError | None:
        """The first daemon found that has ended, though nobody asked it to."""
        for peer in self._record.peers:
            child = self._children.get(peer.name)
            code = None if child is None else child.poll()
            gone = child is None and peer.process is not None and not peer.alive
            if code is not None or gone:
                return PeerExitedError(peer.name, how_it_ended(code), self.log(peer.name), code)
        return None

    def down(self) -> list[str]:
        """End every process of the testbed; the names of those that had to be killed. Blocks for some
        seconds at most, and no signal interrupts it."""
        processes = {p.name: p.process for p in self._record.peers if p.process is not None}
        killed = terminate(list(processes.values()))
        for child in self._children.values():
            child.poll()  # reaps it
        for peer in self._record.peers:
            peer.process = None
        if self.folder.is_dir():
            self._save()
        if self._record.sockets:
            for peer in self._record.peers:
                Path(peer.socket).unlink(missing_ok=True)
        return [name for name, process in processes.items() if process in killed]


def _socket(folder: Path, name: str, short: bool) -> Path:
    return folder / f"{name}.sock" if short else folder / "peers" / name / "control.sock"


def _socket_folder(folder: Path, peers: int) -> Path | None:
    """None when the sockets fit into the state directories; else a new folder for them."""
    longest = max(len(os.fsencode(_socket(folder, name, False))) for name in peer_names(peers))
    if longest <= UNIX_PATH_BYTES:
        return None
    return Path(tempfile.mkdtemp(prefix="peerd-", dir="/tmp"))
