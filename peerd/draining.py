"""Leaving politely: nobody sends anything new here, what is here goes on, and only then the daemon ends.

announcing   the descriptor says `leaving`: no new packets through this peer or for it
draining     own messages are acknowledged or given up; packets of others that are held are relayed; answers
             that others wait for pass; all as before, only less and less
drained      nothing has come for as long as packets of others may still be on their way
timeout      not within the time that the operator gave
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from peerd.clock import monotonic
from peerd.observe import Tally
from peerd.relay import Mixnet
from peerd.status import DrainProgress
from peerd.types import PacketKind

LOOK_SECONDS = 0.1
LINGER_SECONDS = 2.0
"""At least: until all have heard of it, and what they sent before has come."""
LINGER_ROUND_TRIPS = 2.0
"""Of the slowest 5 in 100."""


class Drain:
    def __init__(self, mixnet: Mixnet, tally: Tally, announce: Callable[[], None]) -> None:
        self._mixnet = mixnet
        self._tally = tally
        self._announce = announce
        self._begun: float | None = None

    async def watch(self, seconds: float) -> AsyncIterator[DrainProgress]:
        """Begin, unless it has begun already, and tell until it is over. It waits `seconds` at most."""
        if self._begun is None:
            self._begun = monotonic()
            self._announce()
        yield self._progress("announcing")
        ends = monotonic() + seconds
        quiet_since, relayed = monotonic(), self._relayed()
        while True:
            now = monotonic()
            if self._relayed() != relayed or not self._is_empty():
                quiet_since, relayed = now, self._relayed()
            if now >= quiet_since + self._linger():
                yield self._progress("drained")
                return
            if now >= ends:
                yield self._progress("timeout")
                return
            yield self._progress("draining")
            await asyncio.sleep(min(LOOK_SECONDS, max(ends - now, 0.0)))

    def _linger(self) -> float:
        return max(LINGER_SECONDS, LINGER_ROUND_TRIPS * self._tally.rtt_quantile(0.95))

    def _relayed(self) -> int:
        """Cover of our own does not count: it never ends."""
        sent = self._tally.sent_packets
        return sent[PacketKind.FORWARDED] + sent[PacketKind.ACK] + self._tally.delivered

    def _is_empty(self) -> bool:
        delivery = self._mixnet.delivery
        return not (delivery.queued or delivery.in_flight or self._mixnet.inbox_depth)

    def _progress(self, state: str) -> DrainProgress:
        delivery = self._mixnet.delivery
        return DrainProgress(
            state=state,
            messages=delivery.queued + delivery.in_flight,
            packets=self._mixnet.mix_depth,
        )
