"""The other members as one simulated peer knows them: what `peerd.members` does, on virtual time.

Also in the same order: what comes first decides who is told of what.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from peerd.config import MembershipConfig
from peerd.membership import (
    Admitted,
    Change,
    Descriptor,
    Gossip,
    Heard,
    Kind,
    Member,
    Record,
    Refused,
    Roster,
    RunNotice,
    Tell,
    Trust,
    View,
    descriptor_record,
    is_news,
)
from peerd.sim.timeline import Action, Alarm
from peerd.sim.verifier import SharedVerifier, Verdicts
from peerd.types import DropReason, PeerId

DECISIONS = frozenset({Kind.AUTHORITY, Kind.DELEGATION, Kind.REVOCATION})
SAVE_AFTER_SECONDS = 1.0
EXPIRE_SECONDS = 60.0


class Links(Protocol):
    """The links, as far as it matters here who there is."""

    @property
    def neighbours(self) -> Collection[PeerId]: ...

    def set_addresses(self, peer: PeerId, addresses: tuple[str, ...]) -> None: ...

    def forget(self, peer: PeerId) -> None: ...

    def reconsider(self) -> None: ...


class Owner(Protocol):
    """The daemon around it: its clocks and timers, and who is told what has changed."""

    @property
    def now(self) -> float: ...

    def wall(self) -> float: ...

    def alarm(self, ring: Action) -> Alarm: ...

    def dropped(self, reason: DropReason) -> None: ...

    def tell(self, tell: Tell) -> None: ...

    def view_changed(self, changes: Sequence[Change]) -> None: ...

    def announced(self, notice: RunNotice) -> None: ...

    def heard_of_myself(self, descriptor: Descriptor) -> None: ...

    def must_stop(self, why: str) -> None: ...


class SimMembers:
    def __init__(
        self,
        me: PeerId,
        trust: Trust,
        config: MembershipConfig,
        owner: Owner,
        links: Links,
        *,
        cell_bytes: int,
        epoch: int,
        rng: random.Random,
        verdicts: Verdicts,
        save: Callable[[bytes], None],
    ) -> None:
        self._me = me
        self._owner = owner
        self._links = links
        self._save = save
        self.roster = Roster(trust.network, trust, config.max_members, me)
        self.roster.verifier = SharedVerifier(trust, verdicts)
        self.view = View(
            me,
            dead_after=config.dead_after_seconds,
            flap_limit=config.flap_limit,
            flap_half_life=config.flap_half_life_seconds,
            epoch=epoch,
        )
        self.gossip = Gossip(self.roster, cell_bytes, config.gossip_interval_seconds, rng, owner.now)
        self.skews: dict[PeerId, float] = {}
        """Seconds that a neighbour's wall clock is ahead of ours."""
        self._running = False
        self._saving = False
        self._gossip_alarm = owner.alarm(self._gossip_now)
        self._view_alarm = owner.alarm(self._tick)
        self._expire_alarm = owner.alarm(self._expire)
        self._save_alarm = owner.alarm(self._save_now)

    # -- life -----------------------------------------------------------------

    def load(self, disk: bytes, bundle: Iterable[bytes]) -> bool:
        """What the disk and the bundle tell. False where that is that this peer is revoked."""
        now = self._owner.wall()
        self.roster.load(disk, now)
        for encoded in bundle:
            self.roster.offer(encoded, now)
        for record in self.roster.records():
            self._take_in(record)
        return not self.roster.is_revoked(self._me)

    def start(self) -> None:
        self._running = True
        for peer in self.view.peers():
            self._dial(peer)
        self._gossip_alarm.set(self.gossip.next_deadline())
        self._tick()
        self._expire()

    # -- what comes in ----------------------------------------------------------

    def received(self, source: PeerId, data: bytes) -> None:
        """A piece of gossip from a neighbour."""
        owner = self._owner
        heard = self.gossip.received(source, data, self._links.neighbours, owner.now, owner.wall())
        self._heard(source, heard)

    def publish(self, encoded: bytes) -> Record | Refused | None:
        """A record of our own, or of our operator. None: it was known."""
        outcome = self.roster.admit(encoded, self._owner.wall())
        if not isinstance(outcome, Admitted):
            return outcome
        self._take_in(outcome.record)
        if outcome.dropped or outcome.record.kind in DECISIONS:
            self._sync()
        if is_news(outcome):
            neighbours = self._links.neighbours
            self._send(self.gossip.publish([outcome.record], neighbours, self._owner.now))
        return outcome.record

    def describe(self, descriptor: Descriptor) -> None:
        """This peer says something new of itself."""
        self.view.learn(descriptor, self._owner.now)
        refused = self.publish(descriptor_record(descriptor))
        assert not isinstance(refused, Refused), refused

    def link_up(self, peer: PeerId) -> None:
        self._send(self.gossip.link_up(peer, self._owner.now, self._owner.wall()))
        self._changed(self.view.link_up(peer, self._owner.now))

    def link_down(self, peer: PeerId) -> None:
        self.skews.pop(peer, None)
        self._changed(self.view.link_down(peer, self._owner.now))

    def set_epoch(self, epoch: int) -> None:
        self._changed(self.view.set_epoch(epoch, self._owner.now))

    def expects(self, peer: PeerId, certificate: bytes) -> bool:
        """Whether a link of whoever shows this certificate (DER) is welcome."""
        return peer != self._me and self.roster.allows(peer, self._owner.wall(), certificate)

    # -- records ----------------------------------------------------------------

    def _heard(self, source: PeerId, heard: Heard) -> None:
        for refused in heard.refused:
            self._owner.dropped(refused.reason)
        if heard.skew is not None:
            self.skews[source] = heard.skew
        for record in heard.records:
            self._take_in(record)
        if heard.dropped or any(record.kind in DECISIONS for record in heard.records):
            self._sync()
        self._send(heard.tells)

    def _take_in(self, record: Record) -> None:
        now = self._owner.now
        if self._running and not self._saving:
            self._saving = True
            self._save_alarm.set(now + SAVE_AFTER_SECONDS)
        match record.body:
            case Member(peer_id=peer) if peer != self._me:
                self.view.add(peer, now)
            case Descriptor(peer_id=peer):
                if peer == self._me:
                    self._owner.heard_of_myself(record.body)
                    return
                self.view.add(peer, now)
                self._changed(self.view.learn(record.body, now))
                self._dial(peer)
                self._owner.view_changed(())  # it may take part in another run now
            case RunNotice():
                self._owner.announced(record.body)

    def _sync(self) -> None:
        """Who is revoked, or whose certificate is over, or was signed by somebody who has no say any more."""
        if self.roster.is_revoked(self._me):
            self._owner.must_stop("revoked")
        for peer in self.view.peers():
            if self.roster.member(peer) is not None:
                continue
            self._links.forget(peer)
            self._changed(self.view.revoke(peer, self._owner.now))
            if not self.roster.is_revoked(peer):
                self.view.remove(peer)
        self._links.reconsider()

    # -- the view -----------------------------------------------------------------

    def _changed(self, changes: Sequence[Change]) -> None:
        if changes:
            self._owner.view_changed(changes)
        if self._running:
            self._view_alarm.set(self.view.next_deadline())

    def _tick(self) -> None:
        self._changed(self.view.tick(self._owner.now))

    def _dial(self, peer: PeerId) -> None:
        descriptor = self.view.descriptor(peer)
        if self._running and descriptor is not None and self.view.enrolled(peer):
            self._links.set_addresses(peer, descriptor.addresses)

    # -- timers -------------------------------------------------------------------

    def _send(self, tells: Iterable[Tell]) -> None:
        for tell in tells:
            self._owner.tell(tell)

    def _gossip_now(self) -> None:
        owner = self._owner
        self._send(self.gossip.tick(self._links.neighbours, owner.now, owner.wall()))
        self._gossip_alarm.set(self.gossip.next_deadline())

    def _expire(self) -> None:
        if self.roster.expire(self._owner.wall()):
            self._sync()
        self._expire_alarm.set(self._owner.now + EXPIRE_SECONDS)

    def _save_now(self) -> None:
        self._saving = False
        self._save(self.roster.dump())
