"""When to ping, when to call a link dead, when to dial again. Sans-IO."""

from __future__ import annotations

import random

NUMBER_BYTES = 8
SMOOTHING = 1 / 8


class Keepalive:
    """Of one outbound connection. Only a pong proves life: TCP acknowledges for a frozen process."""

    def __init__(self, interval: float, dead_after: float, now: float) -> None:
        self._interval = interval
        self._dead_after = dead_after
        self._heard = now
        self._next_ping = now
        self._number = 0
        self._sent_at = now
        self.rtt: float | None = None
        """Smoothed seconds from a ping to its pong."""

    def ping(self, now: float) -> bytes | None:
        """The number to send when a ping is due, else None."""
        if now < self._next_ping:
            return None
        self._next_ping = now + self._interval
        self._number += 1
        self._sent_at = now
        return self._number.to_bytes(NUMBER_BYTES, "big")

    def pong(self, number: bytes, now: float) -> bool:
        """An answer came; False for one that answers nothing we asked (the remote misbehaves)."""
        answered = int.from_bytes(number, "big")
        if not 0 < answered <= self._number:
            return False
        self._heard = now
        if answered == self._number:
            sample = now - self._sent_at
            self.rtt = sample if self.rtt is None else self.rtt + SMOOTHING * (sample - self.rtt)
        return True

    def is_dead(self, now: float) -> bool:
        return now >= self._heard + self._dead_after

    def next_deadline(self) -> float:
        return min(self._next_ping, self._heard + self._dead_after)


class Backoff:
    """Jittered exponential waits: uniform between half and the whole of min x 2^n, up to a maximum."""

    def __init__(self, minimum: float, maximum: float, rng: random.Random) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._rng = rng
        self._failures = 0

    def wait(self) -> float:
        """Seconds until the next attempt; grows with every call."""
        ceiling = min(self._minimum * 2.0 ** min(self._failures, 32), self._maximum)
        self._failures += 1
        return float(ceiling * (0.5 + self._rng.random() / 2))

    def reset(self) -> None:
        self._failures = 0
