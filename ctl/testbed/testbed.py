"""One testbed: a folder, its network, and its daemons.

DIR/testbed.json    names, addresses, sockets, processes: what `down` needs
DIR/contexts.toml   the control sockets and the operator, for `peerctl --testbed DIR --all ...`
DIR/network/        the authority
DIR/ops/            an operator with the admin role, who announces runs
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
import signal
import subprocess
import tempfile
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ctl import tomlfile
from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Contexts, Endpoint
from ctl.targets import CONTEXTS_FILE
from ctl.testbed import enrolment
from ctl.testbed.plan import Plan, ReservedPorts, peer_names
from ctl.testbed.processes import (
    PeerExitedError,
    Process,
    how_it_ended,
    kill,
    signal_all,
    spawn,
    started_by,
    terminate,
    wait_frozen,
)
from ctl.testbed.readiness import POLL_SECONDS, Progress, connected
from ctl.testbed.record import RECORD, Peer, Record
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError

UNIX_PATH_BYTES = 100
"""Longer socket paths do not fit the kernel's address structure."""
DEATH_SECONDS = 1.0
"""A dying daemon's connection goes first, the process a moment later."""

T = TypeVar("T")


class Testbed:
    """`create` or `load`, then `start`; `down` ends every process, whatever happened before."""

    __test__ = False  # for pytest: a testbed is no test

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self._record = record
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: ReservedPorts | None = None
        self._leaving: set[str] = set()
        """Whose end is no accident."""
        self._orphans: list[Process] = []
        """What killed daemons had started; it should end by itself."""

    # -- files ------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, plan: Plan, ports: ReservedPorts) -> Testbed:
        """A network of `plan.peers` enrolled peers in a new or empty folder; nothing runs yet.

        Their `ports` stay reserved until each is started, or `down`.
        """
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
        testbed = cls(folder, Record(peers, str(sockets or "")))
        testbed._ports = ports
        try:
            enrolment.create(folder, plan, [(peer.name, peer.address) for peer in peers])
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
        return cls(folder, Record.load(folder))

    def _save(self) -> None:
        self._record.save(self.folder)

    def _write_contexts(self) -> None:
        first = self._record.peers[0].name
        endpoints = {endpoint.name: endpoint for endpoint in self.endpoints}
        path = self.folder / CONTEXTS_FILE
        Contexts(path, first, endpoints, enrolment.operator(self.folder)).save()

    def add(self, name: str) -> None:
        """Enrol one more peer, which is then started like the others. It is in no other peer's bundle."""
        ports = ReservedPorts(1)
        try:
            (address,) = ports.addresses
            sockets = self._record.sockets
            socket = _socket(Path(sockets) if sockets else self.folder, name, short=bool(sockets))
            if len(os.fsencode(socket)) > UNIX_PATH_BYTES:
                raise InvalidInputError(f"{socket}: too long for a socket; choose a shorter name")
            enrolment.add(self.folder, name, address)
        finally:
            ports.close()
        self._record.peers.append(Peer(name, address, str(socket)))
        self._write_contexts()
        self._save()

    def remove(self) -> None:
        """Delete a testbed that is down: its own files, and the folder if nothing else is in it."""
        if self._record.sockets:
            shutil.rmtree(self._record.sockets, ignore_errors=True)
        for part in ("logs", enrolment.NETWORK, enrolment.OPERATOR, "peers", "trace"):
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

    def peer(self, name: str) -> Peer:
        """NotFoundError for a name that is none of this testbed's."""
        for peer in self._record.peers:
            if peer.name == name:
                return peer
        known = ", ".join(peer.name for peer in self._record.peers)
        raise NotFoundError(f"no peer {name!r} in this testbed; it has {known}")

    def config_file(self, name: str) -> Path:
        return self.folder / f"{name}.toml"

    @property
    def operator(self) -> Path:
        """The certificate of its operator."""
        return enrolment.operator(self.folder)

    @property
    def running(self) -> list[str]:
        return [peer.name for peer in self._record.peers if peer.alive]

    def state_dir(self, name: str) -> Path:
        return self.folder / "peers" / name

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    # -- processes --------------------------------------------------------------

    async def start(
        self, plan: Plan, patience: float, progress: Progress, names: Collection[str] | None = None
    ) -> None:
        """Start those that do not run, of `names` or of all but the plan's late ones, and wait until each
        one's health service says SERVING.

        PeerExitedError when one ends instead, UnavailableError after `patience` seconds. What was
        started is then still there: `down` is the caller's.
        """
        wanted = {p.name for p in self._record.peers} - set(plan.late) if names is None else set(names)
        started = [peer for peer in self._record.peers if not peer.alive and peer.name in wanted]
        for peer in started:
            self._launch(plan, peer)
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

    def _launch(self, plan: Plan, peer: Peer) -> None:
        config = self.config_file(peer.name)
        trace = self.folder / "trace" / f"{peer.name}.jsonl"
        made = plan.peer_config(peer.address, Path(peer.socket), trace)
        tomlfile.write(config, msgspec.to_builtins(made))
        Path(peer.socket).unlink(missing_ok=True)
        command = [
            *plan.command,
            "run",
            *("--state-dir", str(self.state_dir(peer.name))),
            *("--config", str(config)),
            *("--bundle", str(enrolment.bundle(self.folder, peer.name))),
        ]
        if self._ports is not None:
            self._ports.release(peer.address)
        child = spawn(command, self.log(peer.name))
        self._leaving.discard(peer.name)
        self._children[peer.name] = child
        peer.process = Process.of(child.pid)
        self._save()

    async def wait_connected(self, patience: float, progress: Progress) -> None:
        """Until every peer that runs sees all others that do alive. PeerExitedError; UnavailableError after
        `patience` seconds, which names those who do not."""
        running = [peer.endpoint for peer in self._record.peers if peer.alive and not peer.frozen]
        await self.while_alive(connected(running, patience, progress))

    # -- experiments ------------------------------------------------------------

    def kill(self, name: str) -> None:
        """SIGKILL, as the kernel does it when memory runs out: nothing is written, nobody is told."""
        peer = self.running_peer(name)
        self._leaving.add(name)
        self._orphans += started_by(peer.running)
        if not kill(peer.running):
            raise UnavailableError(f"{name}: process {peer.running.pid} does not go")
        self._gone(peer)

    def leaving(self, name: str) -> None:
        """It was asked to leave: its end is no accident."""
        self._leaving.add(name)

    async def wait_gone(self, name: str, patience: float) -> bool:
        """Until one that was asked to leave has ended by itself; False: it has not, after so many seconds."""
        peer = self.peer(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:  # the process may be another peerctl's child
                    if not peer.alive:
                        break
                    await asyncio.sleep(POLL_SECONDS)
        if peer.alive:
            return False
        self._gone(peer)
        return True

    def freeze(self, name: str) -> None:
        """SIGSTOP: it does nothing, and nobody is told; its connections stay open."""
        process = self.running_peer(name).running
        signal_all(process, signal.SIGSTOP)
        wait_frozen(process)

    def thaw(self, name: str) -> None:
        signal_all(self.running_peer(name).running, signal.SIGCONT)

    def running_peer(self, name: str) -> Peer:
        """ConflictError for one that is down."""
        peer = self.peer(name)
        if not peer.alive:
            raise ConflictError(f"{name} does not run; `peerctl testbed start {name}`")
        return peer

    def _gone(self, peer: Peer) -> None:
        child = self._children.pop(peer.name, None)
        if child is not None:
            child.poll()  # reaps it
        peer.process = None
        if self.folder.is_dir():
            self._save()

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
            if peer.name in self._leaving:
                continue
            child = self._children.get(peer.name)
            code = None if child is None else child.poll()
            gone = child is None and peer.process is not None and not peer.alive
            if code is not None or gone:
                return PeerExitedError(peer.name, how_it_ended(code), self.log(peer.name), code)
        return None

    def end(self, names: Collection[str]) -> list[str]:
        """End these: SIGTERM, and after ten seconds SIGKILL; the names of those that had to be killed.
        Blocks so long at most, and no signal interrupts it."""
        chosen = [self.peer(name) for name in names]
        self._leaving.update(names)
        processes = {peer.name: peer.process for peer in chosen if peer.process is not None}
        killed = terminate(list(processes.values()))
        for peer in chosen:
            self._gone(peer)
        return [name for name, process in processes.items() if process in killed]

    def down(self) -> list[str]:
        """The same for all, whatever state they are in."""
        killed = self.end([peer.name for peer in self._record.peers])
        terminate(self._orphans)
        if self._ports is not None:
            self._ports.close()
        if self._record.sockets:
            for peer in self._record.peers:
                Path(peer.socket).unlink(missing_ok=True)
        return killed


def _socket(folder: Path, name: str, short: bool) -> Path:
    return folder / f"{name}.sock" if short else folder / "peers" / name / "control.sock"


def _socket_folder(folder: Path, peers: int) -> Path | None:
    """None when the sockets fit into the state directories; else a new folder for them."""
    longest = max(len(os.fsencode(_socket(folder, name, False))) for name in peer_names(peers))
    if longest <= UNIX_PATH_BYTES:
        return None
    return Path(tempfile.mkdtemp(prefix="peerd-", dir="/tmp"))
