"""One life of a simulated peer's daemon: what `peerd.node` joins, on virtual time.

links <-> Mixnet(strategy, replay filter, Delivery) <-> SimDaemon <-> SimParticipation(SimRun(Rounds))
                                                                  <-> SimMembers(gossip, roster, view)
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from peerd.delivery import Acked, Event, GaveUp, Received
from peerd.learning import Fragment, Rejected, decode_payload
from peerd.learning.fragment import Vector
from peerd.link import gossip_bytes
from peerd.membership import About, Change, Descriptor, RunNotice, Tell, Trust
from peerd.membership.certificates import der
from peerd.relay import Mixnet
from peerd.sim.drain import SimDrain
from peerd.sim.host import Host
from peerd.sim.learner import SimRun
from peerd.sim.ledger import Ledger
from peerd.sim.links import End, Link, SimLinks, Switchboard, Take
from peerd.sim.members import SimMembers
from peerd.sim.participation import SimParticipation
from peerd.sim.settings import Settings
from peerd.sim.timeline import Action, Alarm, Timeline
from peerd.sim.verifier import Verdicts
from peerd.store import Saved
from peerd.types import DropReason, PacketKind, PeerId

INSTANCE_BITS = 63
LONGEST_WAIT_SECONDS = 30.0
"""The wall clock may be set at any time: it is looked at so often at least."""
CHECKPOINT_SECONDS = 0.02
STEP_SECONDS = 0.001
BACKLOG = 4096
"""Cells that the kernel keeps for a frozen daemon."""
SERIAL_BITS = 32


class Between(Switchboard, Protocol):
    """The network between the daemons."""

    ledger: Ledger
    verdicts: Verdicts

    def carry_cell(self, link: Link, cell: bytes, take: Take, *, surely: bool) -> None:
        """To the other end of the link, if it gets there."""

    def ended(self, daemon: SimDaemon) -> None: ...


class SimDaemon:
    """From `start` until `kill`, `leave` or its own end (`ended` says why)."""

    mixnet: Mixnet
    participation: SimParticipation

    def __init__(
        self,
        life: int,
        host: Host,
        settings: Settings,
        trust: Trust,
        timeline: Timeline,
        network: Between,
    ) -> None:
        self.life = life
        """Its number among all daemons that there ever were."""
        self.host = host
        self.peer_id = host.peer_id
        self.place = host.index
        self.certificate = der(host.certificate)
        self.mixing = settings.mixing
        self.ended = ""
        self.dropped_counts: Counter[DropReason] = Counter()
        self.sent: Counter[PacketKind] = Counter()
        self.resent = 0
        self.rtts: list[float] = []
        self.delivered = 0
        self.drain: SimDrain | None = None
        self._timeline = timeline
        self._network = network
        self.rng = random.Random(host.rng.getrandbits(64))  # noqa: S311 - a world is its seed
        self._settings = settings
        self._backlog: list[Action] = []
        self._checkpoint = host.checkpoint
        self._last_version = 0
        self._running = False
        self._about = About(
            instance=1 + self.rng.getrandbits(INSTANCE_BITS), started_at=host.wall(self.now), software="sim"
        )
        self.links = SimLinks(self, network, settings.link, self.rng)
        self.members = SimMembers(
            self.peer_id,
            trust,
            settings.membership,
            self,
            self.links,
            cell_bytes=gossip_bytes(settings.geometry.packet_bytes),
            epoch=settings.epochs.at(self.wall()),
            rng=self.rng,
            verdicts=network.verdicts,
            save=self._save_roster,
        )
        self.view = self.members.view
        self._pump = self.alarm(self._turn)
        self._rotation = self.alarm(self._rotate)

    def start(self) -> None:
        host = self.host
        if not self.members.load(host.roster, host.bundle):
            self.end("revoked")
            return
        host.keys.start(self.wall(), self._about, self._last_version)
        self.mixnet = self._make_mixnet()
        self.participation = SimParticipation(
            self.peer_id, host.secret, self._settings.training, self, self.view, self.members.roster
        )
        self._running = True
        self._rotate()
        self.members.start()
        self.members.describe(host.keys.descriptor)
        self.wake()
        self.participation.start()

    def _make_mixnet(self) -> Mixnet:
        settings = self._settings
        return Mixnet(
            me=self.peer_id,
            geometry=settings.geometry,
            keyring=self.host.keys.keyring,
            directory=self.view,
            mixing=self.mixing,
            delivery=settings.delivery,
            relay=settings.relay,
            rng=self.rng,
            now=self.now,
            emit=self._emit,
            journal=lambda _epoch, _tags: None,
            dropped=self.dropped,
            sent=lambda kind: self.sent.update([kind]),
            mixed=lambda _strategy, _bits, _count: None,
            announce=self._announce,
        )

    def end(self, why: str) -> None:
        """In order: what is not written yet is written."""
        if not self.ended:
            self.host.roster = self.members.roster.dump()
            self.host.checkpoint = self._checkpoint
            self.kill(why)

    def kill(self, why: str = "killed") -> None:
        """At once, at any moment; its kernel closes the connections."""
        if not self.ended:
            self.ended = why
            self.links.close()
            self._network.ended(self)

    # -- time -------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self._timeline.now

    def wall(self) -> float:
        return self.host.wall(self.now)

    def do(self, action: Action) -> None:
        if self.ended:
            return
        if self.host.frozen:
            self._backlog.append(action)
        else:
            action()

    def soon(self, action: Action) -> None:
        self.after(0.0, action)

    def after(self, seconds: float, action: Action) -> None:
        self._timeline.at(self.now + seconds, lambda: self.do(action))

    def alarm(self, ring: Action) -> Alarm:
        return Alarm(self._timeline, lambda: self.do(ring))

    def thawed(self) -> None:
        """It runs again: what has come meanwhile is looked at in that order."""
        backlog, self._backlog = self._backlog, []
        for action in backlog:
            self.do(action)

    # -- packets ----------------------------------------------------------------

    def wake(self) -> None:
        """Take a turn soon: something changed."""
        if self._running:
            self._pump.set(self.now)

    def _turn(self) -> None:
        self._on_events(self.mixnet.turn(self.now))
        self._pump.set(self.mixnet.next_deadline(self.now))

    def _emit(self, to: PeerId, packet: bytes) -> DropReason | None:
        return self._put(to, packet, lambda end: end.take_packet)

    def _announce(self, to: PeerId, data: bytes, *, at_once: bool = False) -> DropReason | None:
        """A link that has just come up is not too full for a few cells."""
        return self._put(
            to, data, lambda end: lambda cell: end.take_gossip(self.peer_id, cell), surely=at_once
        )

    def _put(
        self, to: PeerId, cell: bytes, taking: Callable[[End], Take], *, surely: bool = False
    ) -> DropReason | None:
        link = self.links.to(to)
        if isinstance(link, DropReason):
            return link
        self._network.carry_cell(link, cell, taking(link.target), surely=surely)
        return None

    def take_packet(self, packet: bytes) -> None:
        self._take(lambda: self._arrived(packet))

    def take_gossip(self, source: PeerId, data: bytes) -> None:
        self._take(lambda: self.members.received(source, data))

    def _take(self, action: Action) -> None:
        if not self.host.frozen or len(self._backlog) < BACKLOG:
            self.do(action)

    def _arrived(self, packet: bytes) -> None:
        self.mixnet.arrived(packet, self.now)
        self.wake()

    def _on_events(self, events: list[Event]) -> None:
        ledger = self._network.ledger
        for event in events:
            match event:
                case Received(payload=payload):
                    self.delivered += 1
                    ledger.delivers(self.peer_id, payload)
                    match decode_payload(payload):
                        case Fragment() as fragment:
                            self.participation.fragment(payload, fragment)
                        case Rejected(reason=reason):
                            self.dropped(reason)
                case Acked(tag=tag, rtt=rtt):
                    self.rtts.append(rtt)
                    ledger.settles(tag % (1 << SERIAL_BITS), None)
                case GaveUp(tag=tag, reason=reason):
                    ledger.settles(tag % (1 << SERIAL_BITS), reason)
                    self.dropped(reason)
                    if reason is DropReason.GAVE_UP:
                        self.participation.gave_up(tag >> SERIAL_BITS)

    # -- links --------------------------------------------------------------------

    def expects(self, peer: PeerId, certificate: bytes) -> bool:
        return self._running and self.members.expects(peer, certificate)

    def greeting(self, peer: PeerId) -> bytes | None:
        return self.members.gossip.greeting(peer)

    def link_up(self, peer: PeerId) -> None:
        self.members.link_up(peer)

    def link_down(self, peer: PeerId) -> None:
        self.members.link_down(peer)

    def tell(self, tell: Tell) -> None:
        """At once only on a link that has just come up; else among the packets."""
        if tell.at_once:
            self._announce(tell.to, tell.data, at_once=True)
        else:
            self.mixnet.announce(tell.to, tell.data, self.now)
            self.wake()

    # -- the membership -----------------------------------------------------------

    def view_changed(self, changes: Sequence[Change]) -> None:
        if not self._running:
            return
        for change in changes:
            match change.state:
                case "dead" | "revoked":
                    self._on_events(self.mixnet.peer_died(change.peer, self.now))
                case "left":
                    self._on_events(self.mixnet.peer_left(change.peer))
        self.wake()
        self.participation.view_changed()

    def announced(self, notice: RunNotice) -> None:
        if self._running:
            self.participation.announced(notice)

    def heard_of_myself(self, descriptor: Descriptor) -> None:
        """The newer of two instances goes on."""
        self._last_version = max(self._last_version, descriptor.version)
        if not self._running:
            started_at = max(self._about.started_at, descriptor.started_at + STEP_SECONDS)
            self._about = replace(self._about, started_at=started_at)
            return
        if descriptor.instance == self._about.instance:
            return
        other, own = (
            (descriptor.started_at, descriptor.instance),
            (self._about.started_at, self._about.instance),
        )
        if other > own:
            self.must_stop("another instance was started later")
            return
        self.host.keys.outbid(descriptor.version)
        self.members.describe(self.host.keys.descriptor)

    def must_stop(self, why: str) -> None:
        self.soon(lambda: self.end(why))

    def _rotate(self) -> None:
        keys, before = self.host.keys, self.host.keys.epoch
        if keys.update(self.wall()) or keys.epoch != before:
            self.members.describe(keys.descriptor)
            self.members.set_epoch(keys.epoch)
            self.mixnet.keys_changed()
        wall = self.wall()
        self._rotation.set(self.now + min(keys.next_change(wall) - wall, LONGEST_WAIT_SECONDS))

    def _say(self, about: About) -> None:
        self._about = about
        if self.host.keys.say(about):
            self.members.describe(self.host.keys.descriptor)

    def leave(self, timeout: float) -> None:
        """Politely."""
        if self.drain is None:
            self.drain = SimDrain(self, timeout)
            self.participation.leave()
            self._say(replace(self._about, leaving=True, run=b"", contributes_from=0, finished=False))
            self.drain.look()

    # -- runs -----------------------------------------------------------------------

    @property
    def runs(self) -> list[SimRun]:
        """All that it has been in, the present one last."""
        return self.participation.runs if self._running else []

    @property
    def payload_bytes(self) -> int:
        return self.mixnet.delivery.payload_bytes

    def noise(self, round_number: int, parameters: int) -> Vector:
        generator = np.random.default_rng([self.life, round_number])
        return generator.normal(size=parameters).astype(np.float32)

    def new_collection(self) -> int:
        return self._network.ledger.new_collection()

    def averaged(self, run: SimRun, payload: bytes, fragment: Fragment) -> None:
        self._network.ledger.averages(run.collection, run.spec.wire_id, payload, fragment)

    def send(self, to: PeerId, payload: bytes, round_number: int, message_id: bytes) -> None:
        ledger = self._network.ledger
        serial = ledger.sends(self.life, self.peer_id, to, payload)
        refused = self.mixnet.delivery.send(to, payload, round_number << SERIAL_BITS | serial, message_id)
        if refused is not None:
            ledger.settles(serial, refused)
            self.dropped(refused)
        self.wake()

    def cancel(self, before: int | None) -> None:
        self._on_events(
            self.mixnet.delivery.cancel(lambda _peer, tag: before is None or tag >> SERIAL_BITS < before)
        )

    def say_what_run(self, run: bytes, contributes_from: int) -> None:
        number, finished = abs(contributes_from), contributes_from < 0  # as in `Presence.takes_part`
        self._say(replace(self._about, run=run, contributes_from=number, finished=finished))

    def save_checkpoint(self, saved: Saved) -> None:
        """Beside the event loop: a crash may come first."""
        self._checkpoint = saved

        def save() -> None:
            if not self.ended:
                self.host.checkpoint = saved

        self._timeline.at(self.now + CHECKPOINT_SECONDS, save)

    def saved_checkpoint(self) -> Saved | None:
        return self.host.checkpoint

    def _save_roster(self, data: bytes) -> None:
        self.host.roster = data

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        self.dropped_counts[reason] += count
