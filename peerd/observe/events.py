"""What happened lately, for an operator: the last events, and whatever comes, for those who follow.

Joins, losses, rounds, alarms: a few a minute. Nothing of it names a packet or a path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from peerd.clock import Clock, wall
from peerd.status import Event

REMEMBERED = 1_000


class EventLog:
    """`add` from anywhere on the event loop; any number of `watch`."""

    def __init__(self, clock: Clock = wall) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=REMEMBERED)
        self._count = 0
        self._changed = asyncio.Event()

    def add(self, kind: str, what: str, *, peer: str = "", detail: str = "") -> None:
        """`kind`: peer, run, round, alarm or node; `peer`: the other one it is about, by name."""
        self._count += 1
        self._events.append(
            Event(at=self._clock(), kind=kind, peer=peer, what=what, detail=detail, number=self._count)
        )
        self._changed.set()
        self._changed = asyncio.Event()

    def latest(self, last: int = 0) -> list[Event]:
        """The last so many, oldest first; 0: all that are remembered."""
        events = list(self._events)
        return events[-last:] if last else events

    async def watch(self, last: int = 0, *, follow: bool = True) -> AsyncIterator[Event]:
        """The latest, then, with `follow`, each as it comes. Who reads too slowly misses the oldest: their
        numbers show it."""
        seen = self._count
        for event in self.latest(last):
            yield event
        while follow:
            changed = self._changed
            for event in [event for event in self._events if event.number > seen]:
                seen = event.number
                yield event
            if changed is self._changed:
                await changed.wait()
