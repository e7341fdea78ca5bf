"""How many messages may be in flight: enough to keep the mixnet busy, not so many that they queue in it.

Everything that is in flight beyond what the mix nodes can process waits in their queues, makes everybody's
round trips longer and ends in resends of what was never lost. So the window follows the measured delay, as
LEDBAT does (RFC 6817, section 2.4): of each acknowledgement the *excess* round trip is known (what is beyond
the delays that the sender drew itself); the smallest seen lately is the base, the rest is queueing. Below
the target the window grows, above it shrinks; a timeout halves it, at most once a second.
"""

from __future__ import annotations

TARGET_SECONDS = 0.5
"""Queueing that is aimed at: a mixnet delays by design, so a little more is worth a full pipe."""
GAIN = 8.0
"""Messages that the window grows in a round trip when there is no queueing."""
INITIAL = 32.0
SMALLEST = 4.0
BASE_SAMPLES = 4096
HALVING_SECONDS = 1.0


class Window:
    """Sans-IO. `size` is between `SMALLEST` (or the limit, if that is smaller) and the limit."""

    def __init__(self, limit: int) -> None:
        self._size = INITIAL
        self.set_limit(limit)
        self._starting = True  # doubles in a round trip until the first sign of queueing
        self._base = float("inf")
        self._next_base = float("inf")
        self._samples = 0
        self._halved: float | None = None

    @property
    def size(self) -> int:
        return int(self._size)

    def set_limit(self, limit: int) -> None:
        """What is in flight beyond it stays so until it is settled."""
        self._limit = float(limit)
        self._smallest = min(SMALLEST, self._limit)
        self._size = min(max(self._size, self._smallest), self._limit)

    def acked(self, excess: float) -> None:
        """An acknowledgement whose round trip was `excess` seconds beyond the known delays."""
        queueing = max(excess - self._take_base(excess), 0.0)
        if self._starting and queueing > TARGET_SECONDS / 2:
            self._starting = False
        if self._starting:
            change = 1.0
        else:
            off_target = max((TARGET_SECONDS - queueing) / TARGET_SECONDS, -1.0)
            change = GAIN * off_target / self._size
        self._size = min(max(self._size + change, self._smallest), self._limit)

    def timed_out(self, now: float) -> None:
        """A message was not acknowledged in time."""
        if self._halved is not None and now < self._halved + HALVING_SECONDS:
            return
        self._halved = now
        self._starting = False
        self._size = max(self._size / 2, self._smallest)

    def _take_base(self, excess: float) -> float:
        """The smallest of the last one to two times `BASE_SAMPLES` samples: paths and loads change."""
        self._next_base = min(self._next_base, excess)
        self._base = min(self._base, excess)
        self._samples += 1
        if self._samples == BASE_SAMPLES:
            self._base, self._next_base, self._samples = self._next_base, float("inf"), 0
        return self._base
