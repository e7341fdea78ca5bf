"""A network whose peers come and go: certificates, gossip, links that are dialled, and runs, all of it real
but for the wires, the clock and the training.

    World     peers that all know each other and whose links are up: cheap, for what concerns packets
    Network   peers that find each other by gossip: for what concerns members and runs
"""

from __future__ import annotations

import random
from collections.abc import Collection

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.membership import Trust, certificate_record, descriptor_record
from peerd.sim.authority import SimAuthority, draw_key
from peerd.sim.daemon import SimDaemon
from peerd.sim.host import BEGINNING, Host
from peerd.sim.keys import SimKeys
from peerd.sim.ledger import Ledger
from peerd.sim.links import Dialled, End, Link, Take
from peerd.sim.settings import Settings
from peerd.sim.timeline import Action
from peerd.sim.verifier import Verdicts
from peerd.sim.wires import Wires
from peerd.types import RunSpec

NAME = "sim"
DRAIN_SECONDS = 60.0


class Network(Wires):
    """`Network(peers=8, seed=1)`; then operations and `run`, in turn; and look at `daemons` and `ledger`.

    `skew_seconds`: clocks are wrong by up to so much, either way. The rest as for `World`.
    """

    def __init__(
        self,
        peers: int,
        seed: int,
        settings: Settings | None = None,
        *,
        latency_seconds: float = 0.02,
        loss: float = 0.0,
        skew_seconds: float = 0.0,
    ) -> None:
        super().__init__(seed, latency_seconds, loss)
        self.settings = settings or Settings()
        self.ledger = Ledger()
        self.verdicts: Verdicts = {}
        self.hosts: list[Host] = []
        self.lives: list[SimDaemon] = []
        """All daemons that there ever were, in the order of their starts."""
        self._skew = skew_seconds
        self._running: dict[int, SimDaemon] = {}
        self._places: dict[str, list[int]] = {}
        """Hosts that an address may lead to."""
        self._group: dict[int, int] = {}
        self._open: list[Link] = []
        self._authority = SimAuthority(NAME, self.rng, BEGINNING)
        founders = [self._new_host() for _ in range(peers)]
        everybody = tuple(record for host in founders for record in self._introduce(host))
        for host in founders:
            host.bundle = everybody
        for host in founders:
            self._boot(host)

    # -- who there is -------------------------------------------------------------

    def __getitem__(self, index: int) -> SimDaemon:
        """The daemon that runs on a host. KeyError where there is none."""
        return self._running[index]

    @property
    def daemons(self) -> list[SimDaemon]:
        """Those that run, by their hosts."""
        return [self._running[index] for index in sorted(self._running)]

    def is_up(self, index: int) -> bool:
        return index in self._running

    # -- operations ---------------------------------------------------------------

    def join(self, contact: int) -> int:
        """Somebody new, who knows one address; its number."""
        host = self._new_host()
        other = self.hosts[contact]
        host.bundle = (*self._introduce(host), *self._introduce(other))
        self._boot(host)
        return host.index

    def leave(self, index: int, timeout: float = DRAIN_SECONDS) -> None:
        """Politely: its daemon ends when it is drained."""
        self._running[index].leave(timeout)

    def crash(self, index: int) -> None:
        """kill -9."""
        self.hosts[index].frozen = False
        self._running[index].kill()

    def restart(self, index: int) -> bool:
        """With what is on its disk. Whether it runs."""
        return index in self._running or self._boot(self.hosts[index])

    def freeze(self, index: int) -> None:
        """SIGSTOP."""
        self.hosts[index].frozen = True
        self._listen()

    def thaw(self, index: int) -> None:
        if self.hosts[index].frozen:
            self.hosts[index].frozen = False
            self._listen()
            if index in self._running:
                self._running[index].thawed()

    def partition(self, *groups: Collection[int]) -> None:
        """Nothing passes between different groups; hosts in no group stay with the first."""
        self._group = {index: number for number, group in enumerate(groups) for index in group}
        self._listen()

    def heal(self) -> None:
        self.partition()

    def set_skew(self, index: int, seconds: float) -> None:
        """Set its wall clock."""
        self.hosts[index].skew = seconds

    def revoke(self, index: int, told: int) -> bytes:
        """By the authority, whose operator tells one peer. The record."""
        host = self.hosts[index]
        record = self._authority.revoke(host.peer_id, host.name, BEGINNING + self.now)
        self.publish(told, record)
        return record

    def announce(
        self, spec: RunSpec, told: int, join_seconds: float = 10.0, *, stopped: bool = False
    ) -> bytes:
        """A run, or its end, by the operator at one peer. The record."""
        record = self._authority.announce(spec, BEGINNING + self.now, join_seconds, stopped=stopped)
        self.publish(told, record)
        return record

    def publish(self, told: int, record: bytes) -> None:
        daemon = self._running[told]
        daemon.do(lambda: _publish(daemon, record))

    def clone(self, index: int, *, elsewhere: bool = False) -> int:
        """Somebody copies a state directory to another host and starts a second daemon there. Its number.

        Others reach it at the same address, when nobody else is there any more; `elsewhere`: at another.
        """
        original = self.hosts[index]
        number = len(self.hosts)
        rng = random.Random(self.rng.getrandbits(64))  # noqa: S311 - a world is its seed
        address = _address(number) if elsewhere else original.address
        copy = Host(
            number,
            original.name,
            address,
            original.identity,
            rng,
            original.keys.copy(address, rng),
            original.skew,
            original.certificate,
            original.bundle,
            original.roster,
            original.checkpoint,
        )
        self._add(copy)
        self._boot(copy)
        return number

    def gossip(self, source: int, target: int, data: bytes) -> None:
        """A member says something of its own making to another one, over no link."""
        daemon, teller = self._running[target], self.hosts[source].peer_id
        daemon.do(lambda: daemon.members.received(teller, data))

    # -- hosts --------------------------------------------------------------------

    def _new_host(self) -> Host:
        index = len(self.hosts)
        identity = Ed25519PrivateKey.from_private_bytes(self.rng.randbytes(32))
        own = random.Random(self.rng.getrandbits(64))  # noqa: S311
        keys = SimKeys(identity, f"peer{index}", _address(index), self.settings.epochs, own)
        skew = self._skew * (2 * self.rng.random() - 1)
        certificate = self._authority.enroll(keys.descriptor, draw_key(self.rng))
        return self._add(Host(index, f"peer{index}", _address(index), identity, own, keys, skew, certificate))

    def _add(self, host: Host) -> Host:
        self.hosts.append(host)
        self._places.setdefault(host.address, []).append(host.index)
        return host

    def _introduce(self, host: Host) -> tuple[bytes, bytes]:
        """What the authority tells of a member."""
        return certificate_record(host.certificate), descriptor_record(host.keys.descriptor)

    def _boot(self, host: Host) -> bool:
        trust = Trust(NAME, [self._authority.certificate])
        host.frozen = False
        daemon = SimDaemon(len(self.lives), host, self.settings, trust, self, self)
        self.lives.append(daemon)
        self._running[host.index] = daemon
        daemon.start()
        return host.index in self._running

    def ended(self, daemon: SimDaemon) -> None:
        if self._running.get(daemon.host.index) is daemon:
            del self._running[daemon.host.index]

    # -- wires --------------------------------------------------------------------

    def connect(self, address: str, dialled: Dialled) -> None:
        source, place = dialled.source, self._at(address)
        timeout = self.settings.link.connect_timeout_seconds
        began = self.now

        def fail(wait: float) -> None:
            self.at(self.now + wait, lambda: source.do(dialled.over))

        def arrive() -> None:
            if place is None:
                fail(self.delay())
                return
            if self._is_cut(source.place, place) or self.hosts[place].frozen:
                fail(max(began + timeout - self.now, 0.0))
                return
            target = self._running.get(place)
            found = target is not None and target.peer_id == dialled.peer
            link = target.links.accept(source) if target is not None and found else None
            if link is None:
                fail(self.delay())
                return
            self._open.append(link)
            greeting = link.target.greeting(source.peer_id)
            self.at(self.now + self.delay(), lambda: self._opened(dialled, link, greeting))

        self.at(self.now + 2 * self.delay(), arrive)

    def _at(self, address: str) -> int | None:
        """The first of the hosts there whose daemon runs."""
        return next((place for place in self._places.get(address, []) if place in self._running), None)

    def _opened(self, dialled: Dialled, link: Link, greeting: bytes | None) -> None:
        source = dialled.source
        if source.ended:
            link.close(source, self)
            return
        self._listen_to(link)
        if greeting is not None:
            source.take_gossip(dialled.peer, greeting)
        source.do(lambda: dialled.opened(link))

    def tell(self, source: End, target: End, action: Action) -> None:
        cut = self._is_cut(source.place, target.place)
        wait = self.settings.link.dead_after_seconds if cut else 0.0
        self.at(self.now + wait + self.delay(), lambda: target.do(action))

    def carry_cell(self, link: Link, cell: bytes, take: Take, *, surely: bool) -> None:
        """What cannot get through is sent again when it can, as TCP does, if the link is there by then."""
        ends = (link.source.place, link.target.place)
        if self._is_cut(*ends):
            link.wait((cell, take))
            return

        def arrived(arriving: bytes) -> None:
            if self._is_cut(*ends):
                link.wait((arriving, take))
            elif link.closed_by is not link.target:
                take(arriving)

        self.carry(*ends, cell, arrived, surely=surely)

    def _is_cut(self, one: int, other: int) -> bool:
        return self._group.get(one, 0) != self._group.get(other, 0)

    def _listen(self) -> None:
        """Somebody is not heard any more, or is heard again."""
        self._open = [link for link in self._open if link.closed_by is None]
        for link in self._open:
            self._listen_to(link)

    def _listen_to(self, link: Link) -> None:
        ends = (link.source.place, link.target.place)
        if not self._is_cut(*ends) and not any(self.hosts[end].frozen for end in ends):
            link.silent_since = None
            waiting, link.waiting = link.waiting, []
            for cell, take in waiting:
                self.carry_cell(link, cell, take, surely=True)
        elif link.silent_since is None:
            link.silent_since = since = self.now
            config = self.settings.link
            patience = config.dead_after_seconds - config.keepalive_seconds * self.rng.random()
            self.at(self.now + patience, lambda: self._hang_up(link, since))

    def _hang_up(self, link: Link, silent_since: float) -> None:
        """Both ends do, if nothing was heard in between."""
        if link.silent_since == silent_since and link.closed_by is None:
            link.closed_by = link.source
            for end in (link.source, link.target):
                end.do(lambda end=end: end.links.closed(link))  # type: ignore[misc]


def _publish(daemon: SimDaemon, record: bytes) -> None:
    daemon.members.publish(record)


def _address(index: int) -> str:
    """Of documentation: RFC 5737."""
    return f"192.0.2.{1 + index % 250}:{9101 + index // 250}"
