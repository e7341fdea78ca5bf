"""Real networks on loopback: an authority, enrolled peers, link tables over real TLS."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import uvloop

from peerd.clock import monotonic
from peerd.config import LinkConfig, NetworkConfig, parse_address
from peerd.link import LinkTable
from peerd.membership import Authority, PeerState, client_ssl_context, server_ssl_context

FAST = LinkConfig(
    listen="127.0.0.1:0",
    keepalive_seconds=0.1,
    dead_after_seconds=0.6,
    backoff_min_seconds=0.02,
    backoff_max_seconds=0.2,
)


def pytest_asyncio_loop_factories(config, item):
    """The daemon runs on uvloop; links, where it shows most, must not depend on its quirks."""
    factories = {"uvloop": uvloop.new_event_loop}
    if item.path.name == "test_link.py":
        factories["asyncio"] = asyncio.new_event_loop
    return factories


class Log:
    """Keeps what was logged: (event, fields)."""

    def __init__(self, changed: asyncio.Event) -> None:
        self.warnings: list[tuple[str, dict]] = []
        self.debugs = 0
        self._changed = changed

    def warning(self, event: str, **fields) -> None:
        self.warnings.append((event, fields))

    def debug(self, event: str, **fields) -> None:
        self.debugs += 1
        self._changed.set()


class Peer:
    """One link table and what it reported."""

    def __init__(self, state: PeerState, config: LinkConfig, packet_bytes: int) -> None:
        self.state = state
        self.config = config
        self.packet_bytes = packet_bytes
        self.packets: list[bytes] = []
        self.gossip: list[bytes] = []
        self.drops: Counter = Counter()
        self.links: list[tuple[bytes, str, bool]] = []
        self.rng = random.Random(1)
        self._changed = asyncio.Event()
        self.log = Log(self._changed)
        self._task: asyncio.Task | None = None

    async def start(self, addresses) -> None:
        self.table = LinkTable(
            config=self.config,
            packet_bytes=self.packet_bytes,
            tls_server=server_ssl_context(self.state),
            tls_client=client_ssl_context(self.state),
            addresses={p: a for p, a in addresses.items() if p != self.state.peer_id},
            on_packet=lambda packet: self._note(self.packets.append, packet),
            on_gossip=lambda data: self._note(self.gossip.append, data),
            on_link=lambda *what: self._note(self.links.append, what),
            on_drop=lambda reason: self._note(lambda r: self.drops.update([r]), reason),
            clock=monotonic,
            rng=self.rng,
            log=self.log,
        )
        self.address = self.table.start()
        self._task = asyncio.create_task(self.table.run())

    def _note(self, write, value) -> None:
        write(value)
        self._changed.set()

    async def until(self, condition, seconds: float = 20.0) -> None:
        """Wait for reports until `condition()` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def enrol(tmp_path: Path):
    """Make a network of named peers; their states come back in order. Each call is a network."""

    def make(*names: str, network: str = "net"):
        folder = tmp_path / network
        authority = Authority.create(folder, NetworkConfig(name="net"))
        for name in names:
            authority.enroll_local(name, f"127.0.0.1:{free_port()}", folder / "peers" / name)
        for name, bundle in authority.write_bundles().items():
            bundle.install(folder / "peers" / name)
        return [PeerState.load(folder / "peers" / name) for name in names]

    return make


@pytest.fixture
async def links(enrol):
    """Start link tables of named peers that know each other's addresses."""
    started: list[Peer] = []

    async def start(*names: str, packet_bytes: int = 1000, config: LinkConfig = FAST, run=True):
        states = enrol(*names)
        addresses = {}
        for state in states:
            own = next(d for d in state.roster if d.peer_id == state.peer_id)
            addresses[state.peer_id] = parse_address(own.address)
        peers = []
        for state in states:
            listen = "{}:{}".format(*addresses[state.peer_id])
            peer = Peer(state, msgspec.structs.replace(config, listen=listen), packet_bytes)
            peer.addresses = addresses
            started.append(peer)
            peers.append(peer)
            if run:
                await peer.start(addresses)
        return peers

    yield start
    for peer in started:
        await peer.stop()


@pytest.fixture
def operator_context(tmp_path: Path):
    """TLS of an operator of the network that `links` made: the same CA, but no peer.

    Made when first used, since the network must be there.
    """

    def make() -> ssl.SSLContext:
        certificate = Authority.load(tmp_path / "net").operator("ops", "admin", tmp_path / "ops")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(tmp_path / "ops" / "ca.pem")
        context.load_cert_chain(certificate, tmp_path / "ops" / "ops.key")
        return context

    return make
