"""The other members as this peer knows them, live: gossip in and out, the view, and what is kept on disk.

The roster, the view and gossip are cores without IO; here are their timers, and what their news mean to the
links (whom to dial, whom to hang up on), to delivery (who has died) and to the operator (events).

DIR/roster.bin   all records, written soon after they change; each is verified again when it is read
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from peerd.clock import Clock, monotonic, wall
from peerd.config import MembershipConfig
from peerd.errors import DeniedError, InvalidInputError, PeerdError
from peerd.keeping import Keeper
from peerd.membership import (
    Admitted,
    Change,
    Descriptor,
    Gossip,
    Heard,
    Kind,
    Member,
    NewAuthority,
    PeerState,
    Record,
    Refused,
    Roster,
    RunNotice,
    Tell,
    Trust,
    View,
    certificate_record,
    delegation_record,
    descriptor_record,
    is_news,
    open_record,
)
from peerd.observe import Alarms, EventLog, Tally
from peerd.store import read_bounded, write_atomic
from peerd.types import DropReason, PeerId

FILE = "roster.bin"
MAX_FILE_BYTES = 64 << 20
DECISIONS = frozenset({Kind.AUTHORITY, Kind.DELEGATION, Kind.REVOCATION})
"""Records that may change whom we may have links with."""
SAVE_AFTER_SECONDS = 1.0
"""What changes meanwhile goes to the disk together."""
RETRY_SECONDS = 10.0
EXPIRE_SECONDS = 60.0
SKEW_ALARM_SECONDS = 5.0
"""A clock that differs by more from a neighbour's is worth an alarm; epochs bear as much as their grace."""


class Peers(Protocol):
    """The links, as far as it matters here who there is."""

    @property
    def neighbours(self) -> Collection[PeerId]: ...

    def set_addresses(self, peer: PeerId, addresses: tuple[str, ...]) -> None: ...

    def forget(self, peer: PeerId) -> None: ...

    def reconsider(self) -> None: ...


class Listener(Protocol):
    """Who is told what has changed."""

    def view_changed(self, changes: Sequence[Change]) -> None: ...

    def announced(self, notice: RunNotice) -> None:
        """An operator has announced a run, or its end."""

    def state_renewed(self, state: PeerState) -> None:
        """Other CAs are in force, or this peer has another certificate."""

    def heard_of_myself(self, descriptor: Descriptor) -> None:
        """A descriptor of this peer that it has not made."""

    def must_stop(self, error: PeerdError) -> None:
        """This peer has no place in the network any more."""


class Members:
    """`load`, then `start` on the event loop, `gossip` and `link_*` as they come, then `stop`."""

    def __init__(
        self,
        state: PeerState,
        folder: Path,
        config: MembershipConfig,
        *,
        cell_bytes: int,
        epoch: int,
        rng: random.Random,
        tally: Tally,
        events: EventLog,
        alarms: Alarms,
        log: Any,
        listener: Listener,
        tell: Callable[[Tell], None],
        clock: Clock = wall,
    ) -> None:
        self.state = state
        self._folder = folder
        self._wall = clock
        self._tally = tally
        self._events = events
        self._alarms = alarms
        self._log = log
        self._listener = listener
        self._tell = tell
        self._links: Peers | None = None
        self.roster = Roster(
            state.network.name,
            Trust(state.network.name, state.authorities),
            config.max_members,
            state.peer_id,
        )
        self.view = View(
            state.peer_id,
            dead_after=config.dead_after_seconds,
            flap_limit=config.flap_limit,
            flap_half_life=config.flap_half_life_seconds,
            epoch=epoch,
        )
        self._gossip = Gossip(self.roster, cell_bytes, config.gossip_interval_seconds, rng, monotonic())
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._keeper = Keeper(FILE, "members", alarms)
        self._running = False
        self._not_understood: set[str] = set()
        self.skews: dict[PeerId, float] = {}
        """Seconds that a neighbour's wall clock is ahead of ours."""

    # -- life -----------------------------------------------------------------

    def load(self) -> None:
        """What the bundle and the disk tell. DeniedError where it says that this peer is revoked."""
        now = self._wall()
        self._from_disk()
        for encoded in (*self._own_records(), *self.state.records):
            self.roster.offer(encoded, now)
        for record in self.roster.records():
            self._take_in(record)
        self._renew()
        if self.roster.is_revoked(self.state.peer_id):
            raise _revoked()

    def start(self, links: Peers) -> None:
        """Dial whoever is known; gossip from now on."""
        self._links = links
        self._running = True
        for peer in self.view.peers():
            self._dial(peer)
        self._arm_gossip()
        self._tick()
        self._expire()

    def stop(self) -> None:
        self._running = False
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def set_config(self, config: MembershipConfig) -> None:
        """When a suspect is dead, who is damped, how often there is gossip: from now on."""
        self.view.set_limits(config.dead_after_seconds, config.flap_limit, config.flap_half_life_seconds)
        self._gossip.set_interval(config.gossip_interval_seconds, monotonic())
        self._arm_gossip()
        self._tick()

    async def close(self) -> None:
        """Write what is not written yet."""
        self._keeper.keep(self._writing())
        await self._keeper.close()

    # -- what comes in ----------------------------------------------------------

    def gossip(self, source: PeerId, data: bytes) -> None:
        """A piece of gossip from a neighbour."""
        heard = self._gossip.received(source, data, self._neighbours(), monotonic(), self._wall())
        self._heard(source, heard)

    def publish(self, encoded: Iterable[bytes]) -> int:
        """Records from this peer's operator: verified like any other, then news. How many were news.

        DeniedError for what does not verify.
        """
        fresh = 0
        for one in encoded:
            outcome = self._admit(one)
            if isinstance(outcome, Refused):
                raise DeniedError(f"a record is refused: {outcome.why} ({fresh} before it were taken)")
            fresh += outcome is not None
        return fresh

    def read_notice(self, encoded: bytes) -> RunNotice:
        """What a record says that announces a run. InvalidInputError for another one, DeniedError for one
        whose operator may not."""
        opened = open_record(encoded)
        if opened is None or opened.kind is not Kind.RUN:
            raise InvalidInputError("notice: not a signed announcement of a run")
        verdict = self.roster.verifier.run(opened, self._wall())
        if isinstance(verdict, Refused):
            raise DeniedError(f"the announcement is refused: {verdict.why}")
        assert isinstance(verdict.record.body, RunNotice)
        return verdict.record.body

    def describe(self, descriptor: Descriptor) -> None:
        """This peer says something new of itself."""
        self.view.learn(descriptor, monotonic())
        refused = self._admit(descriptor_record(descriptor))
        if isinstance(refused, Refused):
            self._log.error("own descriptor refused", why=refused.why)

    def link_up(self, peer: PeerId) -> None:
        self._send(self._gossip.link_up(peer, monotonic(), self._wall()))
        self._changed(self.view.link_up(peer, monotonic()))

    def link_down(self, peer: PeerId) -> None:
        self.skews.pop(peer, None)
        self._judge_clock()
        self._changed(self.view.link_down(peer, monotonic()))

    def set_epoch(self, epoch: int) -> None:
        self._changed(self.view.set_epoch(epoch, monotonic()))

    def greeting(self, peer: PeerId) -> bytes | None:
        """What a peer is told that has just connected: how it is known here."""
        return self._gossip.greeting(peer)

    def expects(self, peer: PeerId, certificate: bytes) -> bool:
        """Whether a link of a peer that has shown this certificate (DER), which TLS accepts, is welcome: also
        that of a newcomer of whom we have not heard yet."""
        return peer != self.state.peer_id and self.roster.allows(peer, self._wall(), certificate)

    # -- records ----------------------------------------------------------------

    def _heard(self, source: PeerId, heard: Heard) -> None:
        for refused in heard.refused:
            self._tally.dropped(refused.reason)
            self._tally.gossip_record("unknown", "refused")
            if refused.reason is DropReason.UNKNOWN_RECORD:
                self._outdated(refused.why)
        if heard.skew is not None:
            self.skews[source] = heard.skew
            self._judge_clock()
        for record in heard.records:
            self._tally.gossip_record(record.kind.name.lower(), "accepted")
            self._take_in(record)
        if heard.dropped or any(record.kind in DECISIONS for record in heard.records):
            self._sync()
        self._send(heard.tells)

    def _outdated(self, why: str) -> None:
        """Once for each of the few reasons there are."""
        if why not in self._not_understood:
            self._not_understood.add(why)
            self._events.add("node", "outdated", detail=f"{why}; an upgrade of this peer would help")

    def _admit(self, encoded: bytes) -> Record | Refused | None:
        """A record of our own, or of our operator. None: it was known."""
        outcome = self.roster.admit(encoded, self._wall())
        if not isinstance(outcome, Admitted):
            return outcome
        self._take_in(outcome.record)
        if outcome.dropped or outcome.record.kind in DECISIONS:
            self._sync()
        if is_news(outcome):
            self._send(self._gossip.publish([outcome.record], self._neighbours(), monotonic()))
        return outcome.record

    def _take_in(self, record: Record) -> None:
        """What the roster has accepted, as the view and the links see it."""
        now = monotonic()
        self._save_soon()
        match record.body:
            case Member(peer_id=peer):
                if peer == self.state.peer_id:
                    self._renew()
                else:
                    self.view.add(peer, now)
            case Descriptor(peer_id=peer):
                if peer == self.state.peer_id:
                    self._listener.heard_of_myself(record.body)
                    return
                self.view.add(peer, now)
                self._changed(self.view.learn(record.body, now))
                self._dial(peer)
                self._listener.view_changed(())  # it may take part in another run now
            case NewAuthority():
                self._renew()
                self._events.add("node", "authority", detail="the network's authority has a new key")
            case RunNotice():
                self._listener.announced(record.body)

    def _sync(self) -> None:
        """Who is revoked, or whose certificate is over, or was signed by somebody who has no say any more."""
        now = monotonic()
        if self.roster.is_revoked(self.state.peer_id):
            self._listener.must_stop(_revoked())
        for peer in self.view.peers():
            if self.roster.member(peer) is not None:
                continue
            if self._links is not None:
                self._links.forget(peer)
            self._changed(self.view.revoke(peer, now))
            if not self.roster.is_revoked(peer):
                self.view.remove(peer)
        if self._links is not None:
            self._links.reconsider()

    def _renew(self) -> None:
        """Take other CAs and another certificate of ours into use."""
        own = self.roster.member(self.state.peer_id)
        if own is None:
            return
        delegate = None if own.issuer is None else self.roster.delegate(own.issuer)
        certificate = None if delegate is None else delegate.certificate
        if own.certificate.public_key() != self.state.identity.link_public():
            return  # made for another link key: `peerd join` with the new bundle installs that
        renewed = self.state.renewed(self.roster.trust.authorities, own.certificate, certificate)
        if renewed is self.state:
            return
        has_another = renewed.chain != self.state.chain
        self.state = renewed
        try:
            renewed.save_renewal(self._folder)
            self._alarms.set("disk", False, cause="certificate")
        except OSError as error:
            self._alarms.set("disk", True, f"renewed certificate not written: {error}", cause="certificate")
        if has_another:  # an operator waits for this before the old CA is ended
            self._events.add("node", "certificate", detail="this peer has a renewed certificate")
        self._listener.state_renewed(renewed)

    def _own_records(self) -> list[bytes]:
        leaf, *issuers = self.state.chain
        return [*map(delegation_record, issuers), certificate_record(leaf)]

    # -- the view -----------------------------------------------------------------

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._tally.peer_changed(change.state)
            name = self.name(change.peer)
            self._log.info("peer changed", peer=name, state=change.state)
            damped = change.state != "revoked" and self.view.damped(change.peer)
            detail = "comes and goes: held back until it stays" if damped else ""
            self._events.add("peer", change.state, peer=name, detail=detail)
        if changes:
            self._listener.view_changed(changes)
        self._arm("view", self.view.next_deadline(), self._tick)

    def _tick(self) -> None:
        self._changed(self.view.tick(monotonic()))

    def name(self, peer: PeerId) -> str:
        """For people; empty for a stranger."""
        member = self.roster.member(peer)
        if member is not None:
            return member.name
        descriptor = self.view.descriptor(peer)
        return "" if descriptor is None else descriptor.name

    def _dial(self, peer: PeerId) -> None:
        descriptor = self.view.descriptor(peer)
        if self._links is not None and descriptor is not None and self.view.enrolled(peer):
            self._links.set_addresses(peer, descriptor.addresses)

    def _judge_clock(self) -> None:
        worst = max(self.skews.values(), key=abs, default=0.0)
        detail = f"a neighbour's clock differs by {worst:+.1f} s; is NTP running?"
        self._alarms.set("clock", abs(worst) > SKEW_ALARM_SECONDS, detail)

    # -- timers -------------------------------------------------------------------

    def _neighbours(self) -> Collection[PeerId]:
        return () if self._links is None else self._links.neighbours

    def _send(self, tells: Iterable[Tell]) -> None:
        for tell in tells:
            self._tell(tell)

    def _gossip_now(self) -> None:
        self._send(self._gossip.tick(self._neighbours(), monotonic(), self._wall()))
        self._arm_gossip()

    def _arm_gossip(self) -> None:
        self._arm("gossip", self._gossip.next_deadline(), self._gossip_now)

    def _expire(self) -> None:
        if self.roster.expire(self._wall()):
            self._sync()
            self._save_soon()
        self._arm("expire", monotonic() + EXPIRE_SECONDS, self._expire)

    def _arm(self, name: str, deadline: float | None, then: Callable[[], None]) -> None:
        earlier = self._timers.pop(name, None)
        if earlier is not None:
            earlier.cancel()
        if deadline is not None and self._running:
            self._timers[name] = asyncio.get_running_loop().call_at(deadline, then)

    # -- the disk -----------------------------------------------------------------

    def _from_disk(self) -> None:
        path = self._folder / FILE
        try:
            data = read_bounded(path, MAX_FILE_BYTES, "the records of the network")
        except PeerdError:
            return  # the bundle has enough to begin with
        refused = self.roster.load(data, self._wall())
        if refused:
            self._log.warning("some records on disk are left out", file=str(path), first=refused[0].why)

    def _save_soon(self) -> None:
        if self._running and "save" not in self._timers:
            self._arm("save", monotonic() + SAVE_AFTER_SECONDS, self._save)

    def _save(self) -> None:
        self._timers.pop("save", None)
        if self._keeper.busy:
            self._save_soon()
        else:
            self._keeper.keep(self._writing(), failed=self._save_later)

    def _save_later(self) -> None:
        self._arm("save", monotonic() + RETRY_SECONDS, self._save)

    def _writing(self) -> Callable[[], None]:
        data = self.roster.dump()
        return lambda: write_atomic(self._folder / FILE, data, 0o600)


def _revoked() -> DeniedError:
    return DeniedError(
        "this peer has been revoked by the network's authority and cannot take part any more; "
        "to come back, make new keys (`peerd init`) and have them enrolled under another name"
    )
