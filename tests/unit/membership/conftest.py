from __future__ import annotations

import copy
import functools
import random
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.config import NetworkConfig
from peerd.membership import Authority, Identity, certificates, records
from peerd.membership.descriptor import Descriptor, peer_id_of, sign_descriptor
from peerd.membership.gossip import Gossip
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust
from peerd.membership.verify import Refused
from peerd.types import DropReason, PeerId, RunSpec


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab", body_bytes=4096))


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.create(tmp_path / "alice", "alice", "192.0.2.1:9101")


@pytest.fixture
def private_parts():
    """Every form in which an identity's private keys might leak."""

    def parts(identity: Identity) -> list[bytes]:
        import base64

        secrets = [identity._identity.private_bytes_raw()]
        number = identity._link.private_numbers().private_value
        secrets.append(number.to_bytes(32, "big"))
        lines = [line for line in identity.link_key_pem.splitlines() if b"-----" not in line]
        forms = [s for secret in secrets for s in (secret, secret.hex().encode())]
        return [*forms, *(base64.b64encode(s)[:40] for s in secrets), *lines[:2]]

    return parts


@dataclass(frozen=True)
class LabPeer:
    """Somebody with keys, whether of the network or not."""

    name: str
    identity: Ed25519PrivateKey
    link: ec.EllipticCurvePrivateKey

    @property
    def id(self) -> PeerId:
        return peer_id_of(self.identity.public_key().public_bytes_raw())


class Lab:
    """A network's CA with its key, and what it and peers may sign: all as encoded records."""

    def __init__(self, network: str = "lab") -> None:
        self.network = network
        self.key, self.ca = self.new_ca()
        self.wall = time.time()
        self.operator_key = certificates.new_key()

    def new_ca(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = certificates.new_key()
        return key, certificates.make_ca(self.network, key)

    def trust(self, *cas: x509.Certificate) -> Trust:
        return Trust(self.network, cas or (self.ca,))

    def roster(self, me: int = 0, max_members: int = 1000, trust: Trust | None = None) -> Roster:
        return Roster(self.network, trust or self.trust(), max_members, self.peer(me).id)

    @staticmethod
    @functools.cache
    def peer(number: int) -> LabPeer:
        seed = number.to_bytes(32, "big")
        link = ec.derive_private_key(number + 1, ec.SECP256R1())
        return LabPeer(f"peer{number}", Ed25519PrivateKey.from_private_bytes(seed), link)

    def describe(self, number: int, version: int | None = None, **changes: Any) -> Descriptor:
        """The version counts from the lab's start."""
        peer = self.peer(number)
        says = {"name": peer.name, "addresses": (f"192.0.2.{number % 250 + 1}:9101",)} | changes
        return sign_descriptor(peer.identity, version=int(self.wall) + (version or 0), **says)

    def descriptor(self, number: int, version: int | None = None, **changes: Any) -> bytes:
        return records.descriptor_record(self.describe(number, version, **changes))

    def link(self, number: int, issuer: Any = None, **changes: Any) -> x509.Certificate:
        """`issuer`: (key, certificate); by default the CA."""
        key, certificate = issuer or (self.key, self.ca)
        name = changes.pop("name", self.peer(number).name)
        described = self.describe(number, name=name)
        link = self.peer(number).link.public_key()
        return certificates.link_certificate(described, link, certificate, key, **changes)

    def certificate(self, number: int, issuer: Any = None, **changes: Any) -> bytes:
        return records.certificate_record(self.link(number, issuer, **changes))

    def delegate(self, number: int, issuer: Any = None, days: float = 100) -> Any:
        """(key, certificate) with which the peer may issue others."""
        peer = self.peer(number)
        key, ca = issuer or (self.key, self.ca)
        certificate = certificates.delegate_certificate(
            peer.id, peer.name, peer.link.public_key(), ca, key, days
        )
        return peer.link, certificate

    def delegation(self, number: int, **changes: Any) -> bytes:
        return records.delegation_record(self.delegate(number, **changes)[1])

    def revocation(self, identifier: int | bytes, age: float = 0.0, key: Any = None) -> bytes:
        """`identifier`: a peer's number, or an id."""
        revoked = self.peer(identifier).id if isinstance(identifier, int) else identifier
        return records.sign_revocation(self.network, revoked, "somebody", self.wall - age, key or self.key)

    def operator(self, role: str = "admin", issuer: Any = None, **changes: Any) -> x509.Certificate:
        key, certificate = issuer or (self.key, self.ca)
        public = self.operator_key.public_key()
        return certificates.operator_certificate("olga", role, public, certificate, key, **changes)

    def run(self, number: int = 1, age: float = 0.0, **changes: Any) -> bytes:
        says = {
            "network": self.network,
            "spec": RunSpec(run_id=f"{number:032x}", task="digits-cnn"),
            "stopped": False,
            "issued_at": self.wall - age,
            "join_seconds": 30.0,
            "operator_cert": changes.pop("operator_cert", None) or self.operator(),
            "operator_key": self.operator_key,
        } | changes
        return records.sign_run(**says)

    def authority(self, ca: Any, age: float = 0.0, retires: bool = False, key: Any = None) -> bytes:
        return records.sign_authority(self.network, ca, self.wall - age, retires, key or self.key)

    def fill(self, roster: Roster, *encoded: bytes) -> Roster:
        """All of them must be taken in."""
        for record in encoded:
            outcome = roster.offer(record, self.wall)
            assert isinstance(outcome, records.Record), outcome
        return roster

    def settle(self, roster: Roster, encoded: list[bytes]) -> Roster:
        """As gossip does: until nothing is news any more."""
        while any(isinstance(roster.offer(record, self.wall), records.Record) for record in encoded):
            pass
        return roster

    @staticmethod
    def everything(roster: Roster) -> dict[bytes, tuple[int, bytes]]:
        return {record.key: (record.version, record.encoded) for record in roster.records()}

    @staticmethod
    def reason(outcome: Any) -> DropReason:
        assert isinstance(outcome, Refused)
        return outcome.reason


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def make_lab() -> type[Lab]:
    return Lab


CELL = 4096
INTERVAL = 1.0


def clone(roster):
    """As known, on its own from now on; certificates and bodies are shared."""
    other = copy.copy(roster)
    other._shelf = copy.copy(roster._shelf)
    other._shelf._records = dict(roster._shelf._records)
    other._shelf._known = list(roster._shelf._known)
    other._shelf._counts = roster._shelf._counts.copy()
    other._shelf._recent = roster._shelf._recent.copy()
    other._signed_by = dict(roster._signed_by)
    other._came_into_force = list(roster._came_into_force)
    return other


class GossipNet:
    """Gossips of some peers on one clock; cells wait in `cells` until `deliver`."""

    def __init__(self, lab, rosters, seed=1, cell=CELL):
        self.lab, self.rng = lab, random.Random(seed)
        self.now = 1000.0
        self.rosters = {roster.me: roster for roster in rosters}
        self.peers = list(self.rosters)
        self.gossips = {
            peer: Gossip(roster, cell, INTERVAL, random.Random(self.rng.random()), self.now)
            for peer, roster in self.rosters.items()
        }
        self.cell = cell
        self.cells = deque()
        self.sent = 0
        self.heard = []

    @property
    def wall(self):
        return self.lab.wall + self.now - 1000.0

    def others(self, peer):
        return [other for other in self.peers if other != peer]

    def take(self, source, tells):
        for tell in tells:
            assert 0 < len(tell.data) <= self.cell
            self.sent += 1
            self.cells.append((source, tell.to, tell.data))

    def receive(self, source, to, data, neighbours=None):
        near = self.others(to) if neighbours is None else neighbours
        heard = self.gossips[to].received(source, data, near, self.now, self.wall)
        self.heard.append(heard)
        self.take(to, heard.tells)
        return heard

    def deliver(self, loss=0.0, shuffle=False):
        while self.cells:
            if shuffle:
                self.cells.rotate(self.rng.randrange(len(self.cells)))
            source, to, data = self.cells.popleft()
            if self.rng.random() >= loss:
                self.receive(source, to, data)

    def tick(self, loss=0.0, shuffle=False):
        """One interval, with everything that it causes."""
        end = self.now + INTERVAL
        while (first := min(self.peers, key=lambda peer: self.gossips[peer].next_deadline())) is not None:
            deadline = self.gossips[first].next_deadline()
            if deadline > end:
                break
            self.now = max(self.now, deadline)
            self.take(first, self.gossips[first].tick(self.others(first), self.now, self.wall))
            self.deliver(loss, shuffle)
        self.now = end

    def summaries(self):
        return {roster.summary() for roster in self.rosters.values()}


@pytest.fixture(scope="session")
def five(lab: Lab) -> Roster:
    """Everything about a network of five."""
    roster = lab.roster()
    for number in range(5):
        roster.offer(lab.certificate(number), lab.wall)
        roster.offer(lab.descriptor(number), lab.wall)
    return roster


@pytest.fixture(scope="session")
def make_net(lab: Lab, five: Roster) -> Any:
    """Some of the five; or peers that know what is given, a list of records for each, or these rosters."""

    def make(*known: Any, peers: int = 5, rosters: Any = (), **options: Any) -> GossipNet:
        if rosters:
            return GossipNet(lab, rosters, **options)
        rosters = []
        for number in range(len(known) or peers):
            roster = lab.roster(number) if known else clone(five)
            roster.me = lab.peer(number).id
            for encoded in known[number] if known else ():
                assert isinstance(roster.offer(encoded, lab.wall), records.Record)
            rosters.append(roster)
        return GossipNet(lab, rosters, **options)

    return make


@pytest.fixture
def roster(lab: Lab) -> Roster:
    return lab.roster()


@pytest.fixture
def pair(lab: Lab, roster: Roster) -> Roster:
    """Oneself and a peer are enrolled and have described themselves."""
    makers = (lab.certificate, lab.descriptor)
    return lab.fill(roster, *(make(number) for number in (0, 1) for make in makers))


@pytest.fixture
def net(make_net: Any) -> GossipNet:
    return make_net()
