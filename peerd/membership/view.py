"""The view: which peers there are, which of them live, and their mix keys of this epoch. Sans-IO.

In this version the roster is fixed at enrolment and liveness comes from links:

    unknown --fit--> alive --not fit for `dead_after`--> dead --fit--> alive

Fit is a peer to which our own link is up and whose mix key for the present epoch we know: only then can
it be a recipient or a mix node. A peer that merely dials us must not draw our packets. It is never called
dead for a link that dropped, only when it has not been fit for `dead_after` seconds.

Descriptors come by gossip. What is enrolled (identity, name, addresses) they cannot change in this
version; what they bring is the mix keys of an epoch and the next, under a version that only grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from peerd.config import parse_address
from peerd.membership.descriptor import Descriptor
from peerd.types import PeerId

State = Literal["unknown", "alive", "dead"]


@dataclass(frozen=True, slots=True)
class Change:
    peer: PeerId
    state: State


@dataclass(slots=True)
class _Entry:
    descriptor: Descriptor
    key: bytes | None
    """The mix key of the present epoch."""
    state: State = "unknown"
    since: float = 0.0
    linked: bool = False
    unfit_since: float = 0.0

    @property
    def fit(self) -> bool:
        return self.linked and self.key is not None

    @property
    def usable(self) -> bool:
        return self.state == "alive" and self.key is not None


class View:
    """`epoch` is the present one of the caller's clock."""

    def __init__(
        self, me: PeerId, roster: Iterable[Descriptor], dead_after: float, epoch: int, now: float
    ) -> None:
        self._me = me
        self._dead_after = dead_after
        self._epoch = epoch
        self._own: Descriptor | None = None
        self._entries: dict[PeerId, _Entry] = {}
        for descriptor in roster:
            if descriptor.peer_id == me:
                self._own = descriptor
            else:
                key = descriptor.key_for(epoch)
                self._entries[descriptor.peer_id] = _Entry(descriptor, key, since=now)
        self._alive: tuple[PeerId, ...] | None = None
        """None: to be listed anew."""

    def link_up(self, peer: PeerId, now: float) -> list[Change]:
        """Our link to the peer is authenticated and answers."""
        entry = self._entries.get(peer)
        if entry is None:
            return []
        was_fit, entry.linked = entry.fit, True
        return self._judge(entry, was_fit, now)

    def link_down(self, peer: PeerId, now: float) -> None:
        entry = self._entries.get(peer)
        if entry is not None:
            was_fit, entry.linked = entry.fit, False
            self._judge(entry, was_fit, now)

    def accepts(self, descriptor: Descriptor) -> bool:
        """Whether it is of an enrolled peer and says of it what the authority has signed."""
        known = self.descriptor(descriptor.peer_id)
        return known is not None and (known.name, known.addresses) == (
            descriptor.name,
            descriptor.addresses,
        )

    def learn(self, descriptor: Descriptor, now: float) -> list[Change]:
        """Take in a newer descriptor (also one's own); an older one changes nothing.

        The caller has asked `accepts`.
        """
        if descriptor.peer_id == self._me:
            self._own = descriptor
            return []
        entry = self._entries[descriptor.peer_id]
        if descriptor.version <= entry.descriptor.version:
            return []
        entry.descriptor = descriptor
        return self._rekey(entry, now)

    def set_epoch(self, epoch: int, now: float) -> list[Change]:
        """The present epoch has changed."""
        self._epoch = epoch
        changes = [self._rekey(entry, now) for entry in self._entries.values()]
        return [change for some in changes for change in some]

    def tick(self, now: float) -> list[Change]:
        """Peers that are dead by now."""
        return [
            self._set(entry, "dead", now)
            for entry in self._entries.values()
            if self._dying(entry) and now >= entry.unfit_since + self._dead_after
        ]

    def next_deadline(self) -> float | None:
        dying = [e.unfit_since for e in self._entries.values() if self._dying(e)]
        return min(dying) + self._dead_after if dying else None

    def alive(self) -> tuple[PeerId, ...]:
        """The other peers that live and have a mix key: for paths and recipients."""
        if self._alive is None:
            self._alive = tuple(peer for peer, entry in self._entries.items() if entry.usable)
        return self._alive

    def peers(self) -> tuple[PeerId, ...]:
        """All other enrolled peers."""
        return tuple(self._entries)

    def enrolled(self, peer: PeerId) -> bool:
        """Whether it is one of the other peers of this network."""
        return peer in self._entries

    def descriptor(self, peer: PeerId) -> Descriptor | None:
        if peer == self._me:
            return self._own
        entry = self._entries.get(peer)
        return None if entry is None else entry.descriptor

    def mix_key(self, peer: PeerId) -> bytes | None:
        """Of the present epoch; None for a stranger, and while it is not known."""
        if peer == self._me:
            return None if self._own is None else self._own.key_for(self._epoch)
        entry = self._entries.get(peer)
        return None if entry is None else entry.key

    def state(self, peer: PeerId) -> tuple[State, float]:
        """(state, since). KeyError for a stranger."""
        entry = self._entries[peer]
        return entry.state, entry.since

    def addresses(self) -> Mapping[PeerId, tuple[str, int]]:
        """Where the others listen."""
        return {peer: parse_address(entry.descriptor.address) for peer, entry in self._entries.items()}

    @staticmethod
    def _dying(entry: _Entry) -> bool:
        return entry.state == "alive" and not entry.fit

    def _rekey(self, entry: _Entry, now: float) -> list[Change]:
        was_fit, entry.key = entry.fit, entry.descriptor.key_for(self._epoch)
        return self._judge(entry, was_fit, now)

    def _judge(self, entry: _Entry, was_fit: bool, now: float) -> list[Change]:
        if was_fit and not entry.fit:
            entry.unfit_since = now
        changes = [self._set(entry, "alive", now)] if entry.fit and entry.state != "alive" else []
        self._alive = None
        return changes

    def _set(self, entry: _Entry, state: State, now: float) -> Change:
        entry.state = state
        entry.since = now
        self._alive = None
        return Change(entry.descriptor.peer_id, state)
