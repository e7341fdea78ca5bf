"""The view: which peers there are, and which of them live. Sans-IO.

In this version the roster is fixed at enrolment and liveness comes from links:

    unknown --link up--> alive --no link for `dead_after`--> dead --link up--> alive

What counts is our own link to the peer: only through that can it be a recipient or a first hop. A peer
that merely dials us must not draw our packets. It is never called dead for a link that dropped, only
when there has been none for `dead_after` seconds.
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
    state: State = "unknown"
    since: float = 0.0
    linked: bool = False
    down_since: float = 0.0


class View:
    def __init__(self, me: PeerId, roster: Iterable[Descriptor], dead_after: float, now: float) -> None:
        self._me = me
        self._dead_after = dead_after
        self._own: Descriptor | None = None
        self._entries: dict[PeerId, _Entry] = {}
        for descriptor in roster:
            if descriptor.peer_id == me:
                self._own = descriptor
            else:
                self._entries[descriptor.peer_id] = _Entry(descriptor, since=now)
        self._alive: tuple[PeerId, ...] = ()

    def link_up(self, peer: PeerId, now: float) -> list[Change]:
        """Our link to the peer is authenticated and answers."""
        entry = self._entries.get(peer)
        if entry is None:
            return []
        entry.linked = True
        return [] if entry.state == "alive" else [self._set(entry, "alive", now)]

    def link_down(self, peer: PeerId, now: float) -> None:
        entry = self._entries.get(peer)
        if entry is not None and entry.linked:
            entry.linked = False
            entry.down_since = now

    def tick(self, now: float) -> list[Change]:
        """Peers that are dead by now."""
        return [
            self._set(entry, "dead", now)
            for entry in self._entries.values()
            if self._dying(entry) and now >= entry.down_since + self._dead_after
        ]

    def next_deadline(self) -> float | None:
        dying = [e.down_since for e in self._entries.values() if self._dying(e)]
        return min(dying) + self._dead_after if dying else None

    def alive(self) -> tuple[PeerId, ...]:
        """The other peers that live."""
        return self._alive

    def peers(self) -> tuple[PeerId, ...]:
        """All other enrolled peers."""
        return tuple(self._entries)

    def descriptor(self, peer: PeerId) -> Descriptor | None:
        if peer == self._me:
            return self._own
        entry = self._entries.get(peer)
        return None if entry is None else entry.descriptor

    def mix_key(self, peer: PeerId) -> bytes | None:
        """None for a stranger."""
        descriptor = self.descriptor(peer)
        return None if descriptor is None else descriptor.mix_key

    def state(self, peer: PeerId) -> tuple[State, float]:
        """(state, since). KeyError for a stranger."""
        entry = self._entries[peer]
        return entry.state, entry.since

    def addresses(self) -> Mapping[PeerId, tuple[str, int]]:
        """Where the others listen."""
        return {peer: parse_address(entry.descriptor.address) for peer, entry in self._entries.items()}

    @staticmethod
    def _dying(entry: _Entry) -> bool:
        return entry.state == "alive" and not entry.linked

    def _set(self, entry: _Entry, state: State, now: float) -> Change:
        entry.state = state
        entry.since = now
        self._alive = tuple(p for p, e in self._entries.items() if e.state == "alive")
        return Change(entry.descriptor.peer_id, state)
