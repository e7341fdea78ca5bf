"""The view: which peers there are, which of them live, and their mix keys of this epoch. Sans-IO.

`TABLE` is the whole state machine. What its words mean:

- A peer is *fit* when our own link to it is up and its mix key of the present epoch is known: only then can
  it be a mix node or a recipient. One that merely dials us must not draw our packets. A link goes down when
  its keepalive says so, never by one missed ping.
- `joining`: a member that has not been fit yet, or one that is back and held back for a while, because it
  was lost too often lately (damping.py).
- `suspect`: was alive and is not fit. At once nothing goes by it; it still counts in the cohort, since most
  links come back in a moment. `dead_after` seconds later it is dead, and nobody waits for it any more.
- `left`: it has said so, in its descriptor. So it was no loss, whatever its link does; a newer descriptor
  that does not say so brings it back.
- `revoked` is for good.

Descriptors are verified by the roster before they come here. Add a member before its descriptor or its link.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from peerd.membership.damping import UNBLEMISHED, Damping, Penalty
from peerd.membership.descriptor import Descriptor
from peerd.types import PeerId

State = Literal["joining", "alive", "suspect", "left", "dead", "revoked"]
Event = Literal["fit", "held", "lost", "overdue", "leaves", "returns", "revoked"]
"""fit: it has what it takes, or still has. held: the same, but it is held back. lost: it is not fit any more.
overdue: suspect for `dead_after`. leaves, returns: so says a newer descriptor. revoked: by the authority."""

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)

# fmt: off
_ROWS: Mapping[State, tuple[State | None, ...]] = {
    #           fit      held       lost       overdue leaves  returns    revoked
    "joining": ("alive", None,      "suspect", None,   "left", None,      "revoked"),  # lost: was held back
    "alive":   (None,    None,      "suspect", None,   "left", None,      "revoked"),
    "suspect": ("alive", "joining", None,      "dead", "left", None,      "revoked"),
    "left":    (None,    None,      None,      None,   None,   "joining", "revoked"),
    "dead":    ("alive", "joining", None,      None,   "left", None,      "revoked"),
    "revoked": (None,    None,      None,      None,   None,   None,      None),
}
# fmt: on
TABLE: Mapping[tuple[State, Event], State] = {
    (state, event): after
    for state, row in _ROWS.items()
    for event, after in zip(EVENTS, row, strict=True)
    if after is not None
}
"""The state after an event. What is not in it is ignored."""


LOSSES_SECONDS = 900.0
"""So long `most_losses` counts one."""
MAX_LOSSES = 100
"""Of a peer that are counted."""


@dataclass(frozen=True, slots=True)
class Change:
    peer: PeerId
    state: State


@dataclass(slots=True)
class _Entry:
    peer: PeerId
    since: float
    state: State = "joining"
    descriptor: Descriptor | None = None
    key: bytes | None = None
    """The mix key of the present epoch."""
    linked: bool = False
    fit: bool = False
    """When it was looked at last."""
    penalty: Penalty = UNBLEMISHED
    held_until: float | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LOSSES))
    """When its link went down lately."""

    @property
    def living(self) -> bool:
        return self.state == "alive" or (self.state == "suspect" and self.held_until is None)


class View:
    """`epoch` is the present one of the caller's clock; seconds everywhere, `now` never falls."""

    def __init__(
        self, me: PeerId, *, dead_after: float, flap_limit: float, flap_half_life: float, epoch: int
    ) -> None:
        self._me = me
        self.set_limits(dead_after, flap_limit, flap_half_life)
        self._epoch = epoch
        self._own: Descriptor | None = None
        self._entries: dict[PeerId, _Entry] = {}
        self._timed: dict[PeerId, _Entry] = {}
        """Those to whom something happens when time goes by."""
        self._alive: tuple[PeerId, ...] | None = None
        """None: to be listed anew."""

    def set_limits(self, dead_after: float, flap_limit: float, flap_half_life: float) -> None:
        """From the next loss, or the next `tick`, on; who is held back stays so as long as it was to."""
        self._dead_after = dead_after
        self._damping = Damping(flap_limit, flap_half_life)

    # -- events ---------------------------------------------------------------

    def add(self, peer: PeerId, now: float) -> None:
        """It is a member. One that is known already stays as it is."""
        if peer != self._me and peer not in self._entries:
            self._entries[peer] = _Entry(peer, now)

    def remove(self, peer: PeerId) -> None:
        """Its membership is over: it is forgotten, with all that was held against it."""
        self._entries.pop(peer, None)
        self._timed.pop(peer, None)
        self._alive = None

    def revoke(self, peer: PeerId, now: float) -> list[Change]:
        entry = self._entries.get(peer)
        if entry is None:
            return []
        entry.key = entry.held_until = None
        entry.losses.clear()
        return self._fire(entry, "revoked", now)

    def learn(self, descriptor: Descriptor, now: float) -> list[Change]:
        """Take in a newer descriptor (also one's own); an older one or a stranger's changes nothing."""
        if descriptor.peer_id == self._me:
            self._own = descriptor
            return []
        entry = self._entries.get(descriptor.peer_id)
        if entry is None or entry.state == "revoked":
            return []
        if entry.descriptor is not None and descriptor.version <= entry.descriptor.version:
            return []
        entry.descriptor = descriptor
        if descriptor.leaving:
            return self._fire(entry, "leaves", now) + self._rekey(entry, now)
        changes = self._rekey(entry, now)
        back = self._fire(entry, "returns", now)
        return changes + back + (self._judge(entry, now) if back else [])

    def link_up(self, peer: PeerId, now: float) -> list[Change]:
        """Our link to the peer is authenticated and answers."""
        entry = self._entries.get(peer)
        if entry is None:
            return []
        entry.linked = True
        return self._judge(entry, now)

    def link_down(self, peer: PeerId, now: float) -> list[Change]:
        entry = self._entries.get(peer)
        if entry is None:
            return []
        entry.linked = False
        if entry.fit and (entry.state, "lost") in TABLE:
            entry.penalty = self._damping.after_loss(entry.penalty, now)
            entry.held_until = entry.penalty.until
            entry.losses.append(now)
            while entry.losses[0] <= now - LOSSES_SECONDS:
                entry.losses.popleft()
        return self._judge(entry, now)

    def set_epoch(self, epoch: int, now: float) -> list[Change]:
        """The present epoch has changed."""
        self._epoch = epoch
        changes: list[Change] = []
        for entry in self._entries.values():
            if entry.state != "revoked":
                changes += self._rekey(entry, now)
        return changes

    def tick(self, now: float) -> list[Change]:
        """What time alone brings: suspects that are dead by now, and the end of holding back."""
        changes: list[Change] = []
        for entry in list(self._timed.values()):
            if entry.state == "suspect" and now >= entry.since + self._dead_after:
                changes += self._fire(entry, "overdue", now)
            if entry.held_until is not None and now >= entry.held_until:
                changes += self._judge(entry, now)
        return changes

    def next_deadline(self) -> float | None:
        """When to call `tick`; None: not before something else happens."""
        return min(map(self._deadline, self._timed.values()), default=None)

    # -- what is known --------------------------------------------------------

    def alive(self) -> tuple[PeerId, ...]:
        """The other peers that can be mix nodes and recipients now."""
        if self._alive is None:
            self._alive = tuple(peer for peer, entry in self._entries.items() if entry.state == "alive")
        return self._alive

    def living(self) -> tuple[PeerId, ...]:
        """The other peers that count: also suspects, but none that is held back."""
        return tuple(entry.peer for entry in self._living())

    def taking_part(self, run: bytes, model: bytes = b"") -> list[tuple[PeerId, int]]:
        """Of `living`, those who say that they take part in this run, each with a number: the first round
        that has its fragments, 0 while it only listens, -n if it has finished with round n. `model`: without
        those who say that theirs is of another form."""
        return [
            (
                entry.peer,
                -entry.descriptor.contributes_from
                if entry.descriptor.finished
                else entry.descriptor.contributes_from,
            )
            for entry in self._living()
            if entry.descriptor is not None
            and run
            and entry.descriptor.run == run
            and not _differs(entry.descriptor, model)
        ]

    def with_other_models(self, run: bytes, model: bytes) -> list[PeerId]:
        """Those who say that they take part in this run, and that their model is not of this form."""
        return [
            entry.peer
            for entry in self._living()
            if entry.descriptor is not None
            and entry.descriptor.run == run
            and _differs(entry.descriptor, model)
        ]

    def peers(self) -> tuple[PeerId, ...]:
        """All other members, and those of them who were revoked since the start."""
        return tuple(self._entries)

    def enrolled(self, peer: PeerId) -> bool:
        """Whether it is one of the other members; not when it is revoked."""
        entry = self._entries.get(peer)
        return entry is not None and entry.state != "revoked"

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
        """(state, when it began). KeyError for a stranger."""
        entry = self._entries[peer]
        return entry.state, entry.since

    def damped(self, peer: PeerId) -> bool:
        """Whether it is held back because it was lost too often lately. KeyError for a stranger."""
        return self._entries[peer].held_until is not None

    def most_losses(self, now: float) -> int:
        """Of the peer whose link went down most often in the last `LOSSES_SECONDS`: that many times."""
        recent = now - LOSSES_SECONDS
        return max((sum(at > recent for at in entry.losses) for entry in self._entries.values()), default=0)

    # -- the machine ----------------------------------------------------------

    def _rekey(self, entry: _Entry, now: float) -> list[Change]:
        entry.key = None if entry.descriptor is None else entry.descriptor.key_for(self._epoch)
        return self._judge(entry, now)

    def _judge(self, entry: _Entry, now: float) -> list[Change]:
        """Look at a peer again, of which something has changed."""
        was_fit, entry.fit = entry.fit, entry.linked and entry.key is not None
        if entry.held_until is not None and now >= entry.held_until:
            entry.held_until = None
        if entry.fit:
            return self._fire(entry, "fit" if entry.held_until is None else "held", now)
        if was_fit:
            return self._fire(entry, "lost", now)
        self._watch(entry)
        return []

    def _fire(self, entry: _Entry, event: Event, now: float) -> list[Change]:
        after = TABLE.get((entry.state, event))
        if after is not None:
            entry.state = after
            entry.since = now
            self._alive = None
            if after == "suspect" and entry.held_until is not None:
                # Not before it is dead: a suspect that counts again only because time goes by would be
                # a change of which nobody is told.
                entry.held_until = max(entry.held_until, now + self._dead_after)
        self._watch(entry)
        return [] if after is None else [Change(entry.peer, after)]

    def _watch(self, entry: _Entry) -> None:
        if entry.state == "suspect" or entry.held_until is not None:
            self._timed[entry.peer] = entry
        else:
            self._timed.pop(entry.peer, None)

    def _deadline(self, entry: _Entry) -> float:
        if entry.state == "suspect" or entry.held_until is None:
            return entry.since + self._dead_after
        return entry.held_until

    def _living(self) -> Iterator[_Entry]:
        return (entry for entry in self._entries.values() if entry.living)


def _differs(descriptor: Descriptor, model: bytes) -> bool:
    """Only where both are known."""
    return bool(model and descriptor.model) and descriptor.model != model
