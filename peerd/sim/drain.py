"""Leaving politely, on virtual time: what `peerd.draining` does."""

from __future__ import annotations

from typing import Protocol

from peerd.relay import Mixnet
from peerd.sim.timeline import Action
from peerd.types import PacketKind

LOOK_SECONDS = 0.1
LINGER_SECONDS = 2.0
LINGER_ROUND_TRIPS = 2.0


class Owner(Protocol):
    mixnet: Mixnet
    delivered: int
    rtts: list[float]

    @property
    def sent(self) -> dict[PacketKind, int]: ...

    @property
    def now(self) -> float: ...

    def after(self, seconds: float, action: Action) -> None: ...

    def end(self, why: str) -> None: ...


class SimDrain:
    """Ends the daemon when nothing has come for a while, at the latest after `timeout` seconds."""

    def __init__(self, owner: Owner, timeout: float) -> None:
        self._owner = owner
        self._ends = owner.now + timeout
        self._quiet_since = owner.now
        self._relayed = self._count()

    def look(self) -> None:
        owner = self._owner
        delivery = owner.mixnet.delivery
        busy = delivery.queued or delivery.in_flight or owner.mixnet.inbox_depth
        if self._count() != self._relayed or busy:
            self._quiet_since, self._relayed = owner.now, self._count()
        if owner.now >= self._quiet_since + self._linger():
            owner.end("drained")
        elif owner.now >= self._ends:
            owner.end("drain timeout")
        else:
            owner.after(LOOK_SECONDS, self.look)

    def _linger(self) -> float:
        rtts = sorted(self._owner.rtts)
        slow = rtts[int(0.95 * len(rtts))] if rtts else 0.0
        return max(LINGER_SECONDS, LINGER_ROUND_TRIPS * slow)

    def _count(self) -> int:
        """Cover of our own does not count: it never ends."""
        sent = self._owner.sent
        return sent[PacketKind.FORWARDED] + sent[PacketKind.ACK] + self._owner.delivered
