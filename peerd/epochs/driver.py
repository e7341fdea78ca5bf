"""The asyncio shell of mix keys: rotates them by the wall clock and tells neighbours of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from peerd.clock import Clock, monotonic, wall
from peerd.epochs.rotation import Rotation
from peerd.membership import Announcer
from peerd.types import PeerId

LONGEST_WAIT_SECONDS = 30.0
"""The wall clock may be set at any time: it is looked at so often at least."""


class EpochDriver:
    """`start`, then `neighbour_up` for each link that comes up, then `stop`."""

    def __init__(
        self,
        rotation: Rotation,
        announcer: Announcer,
        neighbours: Callable[[], Collection[PeerId]],
        tell: Callable[[PeerId, bytes, bool], None],
        on_change: Callable[[], None],
        clock: Clock = wall,
    ) -> None:
        """`tell` passes a descriptor on to a neighbour, at once (True) or when packets go; `on_change` is
        called when keys or epoch have changed."""
        self._rotation = rotation
        self._announcer = announcer
        self._neighbours = neighbours
        self._tell = tell
        self._on_change = on_change
        self._wall = clock
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def start(self) -> None:
        self._rotate()
        self._announce()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def neighbour_up(self, peer: PeerId) -> None:
        """It cannot use us before it knows our keys: tell it at once."""
        self._tell(peer, self._rotation.descriptor.signed, True)
        self._announce()

    @property
    def ends_in_seconds(self) -> float:
        """Until the next epoch."""
        return self._rotation.epoch_ends(self._wall()) - self._wall()

    def _rotate(self) -> None:
        now = self._wall()
        before = self._rotation.epoch
        changed = self._rotation.update(now)
        if changed or self._rotation.epoch != before:
            self._on_change()
        wait = min(max(self._rotation.next_change(now) - now, 0.0), LONGEST_WAIT_SECONDS)
        self._timers["rotate"] = asyncio.get_running_loop().call_later(wait, self._rotate)

    def _announce(self) -> None:
        for peer in self._announcer.due(self._neighbours(), monotonic()):
            self._tell(peer, self._rotation.descriptor.signed, False)
        earlier = self._timers.pop("announce", None)
        if earlier is not None:
            earlier.cancel()
        deadline = self._announcer.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timers["announce"] = loop.call_at(deadline, self._announce)
