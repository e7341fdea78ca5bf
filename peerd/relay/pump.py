"""The asyncio shell of `Mixnet`: one timer, one turn at a time, never a task for a packet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from peerd.clock import monotonic
from peerd.delivery import Event, Payload
from peerd.relay.mixnet import Mixnet
from peerd.types import DropReason, PeerId

SHORTEST_WAIT_SECONDS = 0.001
"""uvloop's timers count whole milliseconds and fire early by up to one: a shorter wait would spin."""

HOLD_AT = 256
"""Packets in the inbox at which links are no longer read, until there are few again. What comes faster than
it is unwrapped waits, or is dropped, at the neighbour that sends it, and is not stale when we read it."""
GO_ON_AT = 64

Hold = Callable[[bool], None]


class Pump:
    """Calls `Mixnet.turn` when something arrived or is due, and hands its events on.

    A turn is short; while work is left, the next turn is scheduled behind whatever else the event
    loop has ready, so that links and control calls are served between turns. `hold` stops the reading of
    links (True) while packets come faster than turns can take them, and lets it go on (False).
    """

    def __init__(
        self,
        mixnet: Mixnet,
        on_events: Callable[[list[Event]], None],
        hold: Hold = lambda held: None,
    ) -> None:
        self._mixnet = mixnet
        self._on_events = on_events
        self._hold = hold
        self._held = False
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._closed = False

    async def run(self) -> None:
        """Pump until cancelled. An exception of a turn is a bug of ours and ends the daemon."""
        self.wake()
        try:
            await self._failed
        finally:
            self._closed = True
            for handle in (self._soon, self._timer):
                if handle is not None:
                    handle.cancel()

    def arrived(self, packet: bytes) -> None:
        """A packet from a link."""
        self._mixnet.arrived(packet, monotonic())
        if self._soon is None:
            self.wake()

    def send(
        self, to: PeerId, payload: Payload, tag: int, message_id: bytes | None = None
    ) -> DropReason | None:
        """Queue a message for delivery; the reason where it was not taken."""
        refused = self._mixnet.delivery.send(to, payload, tag, message_id)
        self.wake()
        return refused

    def wake(self) -> None:
        """Take a turn soon: something changed."""
        if self._soon is None and not self._closed:
            self._soon = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._soon = None
        try:
            events = self._mixnet.turn(monotonic())
            if events:
                self._on_events(events)
            self._regulate()
            self._arm()
        except Exception as error:
            if not self._failed.done():
                self._failed.set_exception(error)

    def _regulate(self) -> None:
        """Asked once a turn, not for every packet: each link brings but a little between two turns."""
        depth = self._mixnet.inbox_depth
        if depth >= HOLD_AT if not self._held else depth <= GO_ON_AT:
            self._held = not self._held
            self._hold(self._held)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = monotonic()
        deadline = self._mixnet.next_deadline(now)
        if deadline is None:
            return
        if deadline <= now:
            self.wake()
        else:
            wait = max(deadline - now, SHORTEST_WAIT_SECONDS)
            self._timer = self._loop.call_later(wait, self._turn_by_timer)

    def _turn_by_timer(self) -> None:
        self._timer = None
        if self._soon is None:
            self._turn()
