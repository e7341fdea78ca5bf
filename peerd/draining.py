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
OVER = ("drained", "timeout")
LINGER_ROUND_TRIPS = 2.0
"""Of the slowest 5 in 100."""


class Drain:
    """`run` is the whole of it, once begun; `watch` tells how far it is, to any number of watchers, none of
    whom it needs."""

    def __init__(self, mixnet: Mixnet, tally: Tally, announce: Callable[[], None]) -> None:
        self._mixnet = mixnet
        self._tally = tally
        self._announce = announce
        self._now = self._progress("announcing")
        self._changed = asyncio.Event()

    async def run(self, seconds: float) -> str:
        """Until nothing is left to do, `seconds` at most: `drained` or `timeout`."""
        self._announce()
        ends = monotonic() + seconds
        quiet_since, relayed = monotonic(), self._relayed()
        while True:
            now = monotonic()
            if self._relayed() != relayed or not self._is_empty():
                quiet_since, relayed = now, self._relayed()
            over = "drained" if now >= quiet_since + self._linger() else "timeout" if now >= ends else ""
            self._tell(self._progress(over or "draining"))
            if over:
                return over
            await asyncio.sleep(min(LOOK_SECONDS, max(ends - now, 0.0)))

    async def watch(self) -> AsyncIterator[DrainProgress]:
        """How it stands, and each change, until it is over."""
        while True:
            now, changed = self._now, self._changed
            yield now
            if now.state in OVER:
                return
            await changed.wait()

    def _tell(self, progress: DrainProgress) -> None:
        self._now = progress
        self._changed.set()
        self._changed = asyncio.Event()

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
