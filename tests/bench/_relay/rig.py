"""One real `peerd` process and, in this process, the two peers between which it relays.

    source ==TLS==> relay (`python -m peerd run`) ==TLS==> sink

Source and sink are real link tables of enrolled peers. A packet is a real header for the path
[relay, sink], fresh for each, since the relay drops replays, before a random body: a relay can tell
neither from what a sender makes, and the sink counts and does not open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import structlog

from ctl import tomlfile
from peerd.clock import monotonic, wall
from peerd.config import LinkConfig, NetworkConfig
from peerd.link import LinkTable
from peerd.membership import Authority, DialPolicy, PeerState, client_ssl_context, server_ssl_context
from peerd.sphinx import Epochs, Geometry, Hop, MixKey, wrap
from peerd.sphinx.commands import DELIVER_HERE
from peerd.sphinx.wrap import header_for
from peerd.store import MixKeyFile, boot_id
from peerd.types import DropReason, PeerId

NAMES = ("relay", "source", "sink")
START_SECONDS = 30.0
END_SECONDS = 10.0
PROBE_SECONDS = 0.05
HEADERS_AT_A_TIME = 200
STALL_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
"""Of links: one whose process does not get a core for seconds is not dead."""
CPUCLOCK_SCHED = 2
"""Linux's id of a process's CPU clock is made of its pid and this: nanoseconds, where /proc has ticks."""
EPOCH_SECONDS = 2_592_000.0
"""No key is changed within a measurement."""

LOG = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
)
"""stdout is for results; that a relay is not there yet is nothing to be told."""


class Rig:
    """Made by `rig`: send with `send`; what comes out at the sink goes to `on_packet`."""

    def __init__(self, folder: Path, body_bytes: int, **mixing: float) -> None:
        """`mixing`: other settings of the relay's than the defaults."""
        self.folder = folder
        self._mixing = {"hops": 1, "loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0, **mixing}
        self.network = NetworkConfig(name="bench", body_bytes=body_bytes, epoch_seconds=EPOCH_SECONDS)
        self.geometry = Geometry(self.network.max_hops, body_bytes)
        self.control_socket = folder / "control.sock"
        self.arrived = 0
        """Packets at the sink."""
        self.accepted = 0
        self.on_packet: Callable[[bytes], None] = lambda packet: None
        states = enrol(folder, self.network, NAMES)
        self.relay_id, self._sink_id = states["relay"].peer_id, states["sink"].peer_id
        self._listen = _address(states["relay"], "relay")
        self.sink_key = MixKey.generate()
        self._body = os.urandom(body_bytes)
        self._process: subprocess.Popen[bytes] | None = None
        self._up = asyncio.Event()
        size = self.geometry.packet_bytes
        self._source = link_table(states["source"], size, ("relay",), on_up=self._up.set)
        self._sink = link_table(states["sink"], size, ("relay",), on_packet=self._count)

    async def packets(self, count: int, delay: Callable[[], float] = lambda: 0.0) -> list[bytes]:
        """Fresh packets; `delay` draws each one's wish to the relay, in seconds."""
        return [self.packet(header) for header in await self.headers(count, delay)]

    async def headers(self, count: int, delay: Callable[[], float] = lambda: 0.0) -> list[bytes]:
        """What is fresh of a packet, to keep many of them in little memory."""
        key = public_key(self.folder / "relay", self.network)
        made: list[bytes] = []
        while len(made) < count:
            header, _ = header_for(self.geometry, self._path(key, delay()), DELIVER_HERE, os.urandom)
            made.append(b"".join(header))
            if len(made) % HEADERS_AT_A_TIME == 0:
                await asyncio.sleep(0)  # the links must live meanwhile
        return made

    def packet(self, header: bytes) -> bytes:
        return header + self._body

    def probe(self, message: bytes) -> bytes:
        """A packet that is whole: the sink can open it with `sink_key`."""
        path = self._path(public_key(self.folder / "relay", self.network), 0.0)
        return wrap(self.geometry, path, message.ljust(self.geometry.message_bytes))

    def _path(self, key: bytes, delay: float) -> tuple[Hop, Hop]:
        return Hop(self.relay_id, key, delay), Hop(self._sink_id, self.sink_key.public, 0.0)

    def send(self, packet: bytes) -> DropReason | None:
        """The reason where our own link does not take it; `accepted` counts what it took."""
        refused = self._source.send(self.relay_id, packet)
        self.accepted += refused is None
        return refused

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Of all threads of the relay since its start."""
        return time.clock_gettime(~self.pid << 3 | CPUCLOCK_SCHED)

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        """Ends the program where the relay has ended."""
        if self._process is None or self._process.poll() is not None:
            raise SystemExit(f"the relay has ended:\n{(self.folder / 'relay.log').read_text()}")

    async def start(self) -> None:
        """The relay and both links, until a packet has gone through."""
        config = self.folder / "relay.toml"
        settings = {
            "link": {"listen": self._listen, "dead_after_seconds": PATIENCE_SECONDS},
            "control": {"unix": str(self.control_socket)},
            "metrics": {"listen": ""},
            "mixing": self._mixing,
        }
        tomlfile.write(config, settings)
        self._spawn("run", "--state-dir", self.folder / "relay", "--config", config)
        async with asyncio.timeout(START_SECONDS):
            await self._up.wait()
            for probe in await self.packets(round(START_SECONDS / PROBE_SECONDS)):
                if self.arrived:
                    break
                self.check()
                self.send(probe)
                await asyncio.sleep(PROBE_SECONDS)
        self.arrived = 0

    def _spawn(self, *arguments: str | Path) -> None:
        command = (sys.executable, "-m", "peerd", *arguments)
        with (self.folder / "relay.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    async def run_links(self) -> None:
        """The source's and the sink's, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for table in (self._source, self._sink):
                table.start()
                group.create_task(table.run())

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _count(self, packet: bytes) -> None:
        self.arrived += 1
        self.on_packet(packet)


@asynccontextmanager
async def rig(folder: Path, body_bytes: int, **mixing: float) -> AsyncIterator[Rig]:
    """A relay that relays."""
    made = Rig(folder, body_bytes, **mixing)
    links = asyncio.create_task(made.run_links())
    try:
        await made.start()
        yield made
    finally:
        links.cancel()
        await asyncio.wait({links})
        made.stop()


class Run(NamedTuple):
    cpu_us: float
    packets_per_second: float


async def relayed(relay: Rig, packets: list[bytes], in_flight: int) -> Run:
    """Send all packets, at most `in_flight` at a time. The first and last ones are not measured."""
    start = in_flight
    end = len(packets) - in_flight
    waiting = iter(packets)
    marks: list[tuple[float, float]] = []
    done = asyncio.Event()
    relay.arrived = 0

    def arrived(_: bytes) -> None:
        if relay.arrived in (start, end):
            marks.append((relay.cpu_seconds(), time.perf_counter()))
        if relay.arrived == len(packets):
            done.set()
        elif (packet := next(waiting, None)) is not None:
            send(packet)

    def send(packet: bytes) -> None:
        if (reason := relay.send(packet)) is not None:
            raise SystemExit(f"the source's own link refuses: {reason}")

    relay.on_packet = arrived
    for _ in range(in_flight):
        send(next(waiting))
    before = 0
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STALL_SECONDS):
                await done.wait()
        relay.check()
        if not done.is_set() and relay.arrived == before:
            raise SystemExit(f"{len(packets) - before} packets were lost")
        before = relay.arrived
    (cpu_before, began), (cpu_after, ended) = marks
    return Run((cpu_after - cpu_before) / (end - start) * 1e6, (end - start) / (ended - began))


def public_key(state_dir: Path, network: NetworkConfig) -> bytes:
    """A running peer's public mix key of now.

    From its own folder: over the links it would come too, at a random moment of the first half minute.
    """
    epoch = Epochs(network.epoch_seconds, network.epoch_grace_seconds).at(wall())
    _, privates = MixKeyFile(state_dir, boot_id()).load() or (0, {})
    return MixKey.from_private(privates[epoch]).public


def enrol(folder: Path, network: NetworkConfig, names: Sequence[str]) -> dict[str, PeerState]:
    """A network of these peers on free ports of this host, each with its folder FOLDER/NAME."""
    authority = Authority.create(folder / "network", network)
    with contextlib.ExitStack() as held:
        bound = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in bound]
    for name, address in zip(names, addresses, strict=True):
        authority.enroll_local(name, address, folder / name)
    for name, bundle in authority.write_bundles().items():
        bundle.install(folder / name)
    return {name: PeerState.load(folder / name) for name in names}


def link_table(
    state: PeerState,
    packet_bytes: int,
    neighbours: Collection[str],
    *,
    on_packet: Callable[[bytes], None] = lambda packet: None,
    on_up: Callable[[], None] = lambda: None,
) -> LinkTable:
    """The links of a peer to these neighbours. `on_up`: it can send on one."""

    def on_link(peer: PeerId, direction: str, up: bool) -> None:
        if direction == "outbound" and up:
            on_up()

    listen = _address(state, state.name)
    table = LinkTable(
        config=LinkConfig(
            listen=listen,
            dead_after_seconds=PATIENCE_SECONDS,
            backoff_min_seconds=0.02,
            backoff_max_seconds=0.1,
        ),
        packet_bytes=packet_bytes,
        tls_server=server_ssl_context(state),
        tls_client=client_ssl_context(state),
        policy=DialPolicy((), listen),
        expects=lambda _peer, _certificate: True,
        on_packet=on_packet,
        on_gossip=lambda _peer, _data: None,
        on_link=on_link,
        on_drop=lambda reason: None,
        clock=monotonic,
        rng=random.Random(),
        log=LOG,
    )
    for descriptor in state.roster:
        if descriptor.name in neighbours:
            table.set_addresses(descriptor.peer_id, descriptor.addresses)
    return table


def _address(state: PeerState, name: str) -> str:
    return next(peer.address for peer in state.roster if peer.name == name)
