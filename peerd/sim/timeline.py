"""Virtual time: what happens when, in one queue."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """What is to happen at the same moment happens in the order in which it was said."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""
        self._events: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Action) -> None:
        """Do something at a virtual time."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let time pass; `until` is asked before every event."""
        end = self.now + seconds
        events = self._events
        while events and events[0][0] <= end:
            if until is not None and until():
                return
            self.now, _, action = heapq.heappop(events)
            action()
        if until is None or not until():
            self.now = end


class Alarm:
    """A timer that may be set anew at any time, and rings once for each time it was set.

    One that is put off costs nothing: it looks again when its earlier moment comes.
    """

    def __init__(self, timeline: Timeline, ring: Action) -> None:
        self._timeline = timeline
        self._ring = ring
        self._when: float | None = None
        self._looks_at: float | None = None

    def set(self, when: float | None) -> None:
        """To ring then, and not when it was set to before; None: not at all."""
        self._when = when
        if when is not None:
            self._look_at(max(when, self._timeline.now))

    def _look_at(self, moment: float) -> None:
        if self._looks_at is None or moment < self._looks_at:
            self._looks_at = moment
            self._timeline.at(moment, lambda: self._look(moment))

    def _look(self, moment: float) -> None:
        if moment != self._looks_at:
            return
        self._looks_at = None
        if self._when is None:
            return
        if self._when > self._timeline.now:
            self._look_at(self._when)
            return
        self._when = None
        self._ring()
