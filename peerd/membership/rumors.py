"""What is passed on at once, and what can wait for the next exchange. Sans-IO."""

from __future__ import annotations

from peerd.membership.descriptor import Descriptor
from peerd.membership.records import (
    Delegate,
    Member,
    NewAuthority,
    Record,
    Revocation,
    RunNotice,
)
from peerd.membership.roster import Admitted

FRESH_SECONDS = 600.0
"""What the authority or an operator has issued so lately is passed on in any case."""
BURST = 32.0
PER_SECOND = 4.0
"""Rumors that one peer passes on. Who comes back to a large network hears much that is no news to others."""
OF_ONE = 8
PERIOD_SECONDS = 60.0
"""A member passes as news so often in a period: it may change its own descriptor as often as it likes."""
MAX_COUNTED = 4096


def is_news(admitted: Admitted) -> bool:
    """Whether others should know at once: who joined, left or was revoked, a run, a change of the authority.

    A mere rotation of mix keys, or a certificate that was renewed, is not.
    """
    before = None if admitted.previous is None else admitted.previous.body
    match admitted.record.body:
        case Descriptor() as now:
            return not isinstance(before, Descriptor) or _says(before) != _says(now)
        case Member(name=name):
            return not isinstance(before, Member) or before.name != name
        case Delegate() | Revocation():
            return before is None
        case RunNotice() | NewAuthority():
            return True


def _says(descriptor: Descriptor) -> tuple[object, ...]:
    """All but its keys, which everybody expects to change."""
    return (
        descriptor.name,
        descriptor.addresses,
        descriptor.leaving,
        descriptor.run,
        descriptor.contributes_from,
        descriptor.finished,
        descriptor.model,
        descriptor.instance,
        descriptor.software,
    )


class Heat:
    """Bounds what rumors cost, whoever makes them."""

    def __init__(self, now: float) -> None:
        self._tokens = BURST
        self._filled_at = now
        self._counts: dict[bytes, int] = {}
        self._since = now

    def passes(self, record: Record, now: float, wall: float) -> bool:
        """Whether this piece of news is passed on; otherwise the next exchanges bring it."""
        match record.body:
            case Revocation(issued_at=at) | RunNotice(issued_at=at) | NewAuthority(issued_at=at):
                if at > wall - FRESH_SECONDS:
                    return True
            case _:
                if not self._is_new_of(record.id, now):
                    return False
        self._tokens = min(self._tokens + max(now - self._filled_at, 0.0) * PER_SECOND, BURST)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _is_new_of(self, peer: bytes, now: float) -> bool:
        if now >= self._since + PERIOD_SECONDS or len(self._counts) > MAX_COUNTED:
            self._counts.clear()
            self._since = now
        self._counts[peer] = self._counts.get(peer, 0) + 1
        return self._counts[peer] <= OF_ONE
