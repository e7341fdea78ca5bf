"""Real networks on loopback: an authority and enrolled peers; link tables over real TLS, of peers with
certificates as the authority and its delegates issue them.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import random
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from peerd.clock import monotonic
from peerd.config import LinkConfig, NetworkConfig
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
    if item.path.name.startswith("test_link"):
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
        self._changed.set()

    def debug(self, event: str, **fields) -> None:
        self.debugs += 1
        self._changed.set()


@dataclass(frozen=True)
class Credentials:
    """What TLS needs of a peer's state."""

    name: str
    peer_id: bytes
    ca_pem: bytes
    certificate_pem: bytes
    """Its own, and what lies between that and the CA."""
    link_key_pem: bytes
    uri: str


def as_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Ca:
    """An authority's key, or that of a delegate of `parent`."""

    def __init__(self, name: str, parent: Ca | None = None) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.parent = parent
        limits = x509.BasicConstraints(ca=True, path_length=1 if parent is None else 0)
        self.certificate = (self if parent is None else parent).sign(name, self.key, limits)
        self.pem = as_pem(self.certificate) if parent is None else parent.pem

    def sign(self, name: str, key, limits: x509.BasicConstraints, uri: str = "") -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]) for common in (name, self.name)
        )
        builder = (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(limits, critical=True)
        )
        if uri:
            names = [x509.UniformResourceIdentifier(uri)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str, uri: str = "") -> Credentials:
        """For the peer of that name, whose id is the same in all networks, or for another `uri`."""
        key = ec.generate_private_key(ec.SECP256R1())
        peer_id = hashlib.sha256(name.encode()).digest()[:16]
        uri = uri or f"peerd://peer/{peer_id.hex()}"
        leaf = self.sign(name, key, x509.BasicConstraints(ca=False, path_length=None), uri)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = as_pem(leaf) if self.parent is None else as_pem(leaf) + as_pem(self.certificate)
        return Credentials(name, peer_id, self.pem, chain, secret, uri)


class Policy:
    """Forbids some addresses, and remembers what it was asked."""

    def __init__(self) -> None:
        self.forbidden: set[str] = set()
        self.asked: list[str] = []

    def permits(self, ip: str) -> bool:
        self.asked.append(ip)
        return ip not in self.forbidden


class Peer:
    """One link table and what it reported."""

    def __init__(self, state: Credentials, config: LinkConfig, packet_bytes: int) -> None:
        self.state = state
        self.config = config
        self.packet_bytes = packet_bytes
        self.policy = Policy()
        self.expected: set[bytes] = set()
        self.shown: dict[bytes, bytes] = {}
        """The certificates of those who connected."""
        self.packets: list[bytes] = []
        self.gossip: list[tuple[bytes, bytes]] = []
        self.drops: Counter = Counter()
        self.links: list[tuple[bytes, str, bool]] = []
        self.rng = random.Random(1)
        self._changed = asyncio.Event()
        self.log = Log(self._changed)
        self._task: asyncio.Task | None = None

    def make_table(self) -> None:
        self.table = LinkTable(
            config=self.config,
            packet_bytes=self.packet_bytes,
            tls_server=server_ssl_context(self.state),
            tls_client=client_ssl_context(self.state),
            policy=self.policy,
            expects=self._expects,
            on_packet=lambda packet: self._note(self.packets.append, packet),
            on_gossip=lambda peer, data: self._note(self.gossip.append, (peer, data)),
            on_link=lambda *what: self._note(self.links.append, what),
            on_drop=lambda reason: self._note(lambda r: self.drops.update([r]), reason),
            clock=monotonic,
            rng=self.rng,
            log=self.log,
        )

    def run(self) -> None:
        self.address = self.table.start()
        self._task = asyncio.create_task(self.table.run())

    async def start(self, addresses) -> None:
        """With links to these peers, who may connect too."""
        self.make_table()
        for peer, (host, port) in addresses.items():
            if peer != self.state.peer_id:
                self.expected.add(peer)
                self.table.set_addresses(peer, (f"{host}:{port}",))
        self.run()

    def _expects(self, peer: bytes, certificate: bytes) -> bool:
        self.shown[peer] = certificate
        return peer in self.expected

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
        """Whatever it is doing; what went wrong in it comes out here."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()


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
def ca() -> Ca:
    """Of the network that `links` makes."""
    return Ca("net")


@pytest.fixture
async def links(ca):
    """Start link tables of named peers that know each other's addresses."""
    started: list[Peer] = []

    async def start(*names: str, packet_bytes: int = 1000, config: LinkConfig = FAST, run=True):
        addresses, peers = {}, []
        for name in names:
            state, port = ca.issue(name), free_port()
            addresses[state.peer_id] = ("127.0.0.1", port)
            listen = msgspec.structs.replace(config, listen=f"127.0.0.1:{port}")
            peers.append(Peer(state, listen, packet_bytes))
        for peer in peers:
            peer.addresses = addresses
            started.append(peer)
            if run:
                await peer.start(addresses)
        return peers

    yield start
    for peer in started:
        await peer.stop()
