"""Retransmission timeout from measured round trips (RFC 6298).

The sender drew every delay of a packet's way there and of its SURB's way back, so it knows that part
of the round trip exactly. Only the *excess* over it (queues, links, the recipient's own delay before
the acknowledgement departs) is unknown, and that is what is estimated here. A timeout is then the
known delays plus this estimate, which is far tighter than an estimate of the whole.

Every attempt has its own SURB, so an acknowledgement tells which attempt it answers and Karn's
ambiguity (RFC 6298, section 3) does not arise: every sample counts.
"""

from __future__ import annotations

ALPHA = 1 / 8
BETA = 1 / 4
K = 4


class RttEstimator:
    """Smoothed excess round trip and its variation, in seconds."""

    def __init__(self, initial: float, minimum: float, maximum: float) -> None:
        self._timeout = initial
        self.smoothed: float | None = None
        self.variation = 0.0
        self.set_limits(initial, minimum, maximum)

    def set_limits(self, initial: float, minimum: float, maximum: float) -> None:
        """Of every timeout from now on; `initial` only while nothing was measured."""
        self._minimum = minimum
        self._maximum = maximum
        if self.smoothed is None:
            self._timeout = initial

    def sample(self, excess: float) -> None:
        """Take one measured excess in; a negative one (clock granularity) counts as zero."""
        excess = max(excess, 0.0)
        if self.smoothed is None:
            self.smoothed = excess
            self.variation = excess / 2
        else:
            self.variation += BETA * (abs(self.smoothed - excess) - self.variation)
            self.smoothed += ALPHA * (excess - self.smoothed)
        self._timeout = self.smoothed + K * self.variation

    def timeout(self, attempt: int) -> float:
        """Seconds beyond the known delays, doubled for each earlier attempt (section 5.5)."""
        base = max(self._timeout, self._minimum)
        return float(min(base * 2.0 ** (attempt - 1), self._maximum))
