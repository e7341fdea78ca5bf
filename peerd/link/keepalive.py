"""When to ping, when to call a link dead, when to dial again. Sans-IO.

A frozen or unplugged host sends no FIN, and TCP acknowledges for a frozen process, so silence is all
that there is to see. The dialler pings and the listener answers; each end hangs up after `dead_after`
seconds without a sign of the other.
"""

from __future__ import annotations

import random

from peerd.link.cells import NUMBER_BYTES

SMOOTHING = 1 / 8
"""Weight of a new round trip (RFC 6298, section 2)."""


class Watchdog:
    """Measures the silence of the remote.

    A judgement that comes late by more than `interval` says that this process did not run meanwhile,
    and signs of life may lie unread in the socket: the remote gets one more interval, once per silence.
    """

    def __init__(self, interval: float, dead_after: float, now: float) -> None:
        self._interval = interval
        self._dead_after = dead_after
        self._excused = False
        self.deadline = now + dead_after
        """When the remote is dead, unless something is heard before."""

    def heard(self, now: float) -> None:
        self.deadline = now + self._dead_after
        self._excused = False

    def is_dead(self, now: float, due: float) -> bool:
        """`due` is when the caller meant to ask."""
        if now - due > self._interval and not self._excused:
            self._excused = True
            self.deadline = max(self.deadline, now + self._interval)
        return now >= self.deadline


class Keepalive:
    """Of one outbound connection. Only the pong to a ping of ours is a sign of life."""

    def __init__(self, interval: float, dead_after: float, now: float) -> None:
        self._interval = interval
        self._watchdog = Watchdog(interval, dead_after, now)
        self._next_ping = now
        self._number = 0
        self._unanswered: dict[int, float] = {}
        self._most_unanswered = 2 * int(dead_after / interval) + 2
        """Older ones are forgotten: whoever answers so late is cut off as if it made the answer up."""
        self.rtt: float | None = None
        """Smoothed seconds from a ping to its pong."""

    def ping(self, now: float) -> bytes | None:
        """The number to send when a ping is due, else None."""
        if now < self._next_ping:
            return None
        self._next_ping = now + self._interval
        if len(self._unanswered) >= self._most_unanswered:
            del self._unanswered[next(iter(self._unanswered))]
        self._number += 1
        self._unanswered[self._number] = now
        return self._number.to_bytes(NUMBER_BYTES, "big")

    def pong(self, number: bytes, now: float) -> bool:
        """An answer came; False for one that answers no ping of ours (the remote misbehaves).

        TCP keeps the order, so that an answer settles the earlier pings too.
        """
        answered = int.from_bytes(number, "big")
        sent = self._unanswered.get(answered)
        if sent is None:
            return False
        self._unanswered = {n: at for n, at in self._unanswered.items() if n > answered}
        self._watchdog.heard(now)
        sample = now - sent
        self.rtt = sample if self.rtt is None else self.rtt + SMOOTHING * (sample - self.rtt)
        return True

    def is_dead(self, now: float) -> bool:
        """Ask at `next_deadline`, before `ping`."""
        return self._watchdog.is_dead(now, self.next_deadline())

    def next_deadline(self) -> float:
        return min(self._next_ping, self._watchdog.deadline)


class Backoff:
    """Jittered exponential waits: uniform between half and the whole of min x 2^n, up to a maximum.

    The jitter keeps peers that lost a neighbour together from dialling it together (Brooker,
    "Exponential Backoff And Jitter", AWS 2015: "equal jitter").
    """

    def __init__(self, minimum: float, maximum: float, rng: random.Random) -> None:
        self._minimum = minimum
        self._maximum = max(minimum, maximum)
        self._rng = rng
        self._failures = 0

    def wait(self) -> float:
        """Seconds until the next attempt; grows with every call."""
        ceiling = min(self._minimum * 2.0 ** min(self._failures, 32), self._maximum)
        self._failures += 1
        return float(ceiling * (0.5 + self._rng.random() / 2))

    def reset(self) -> None:
        self._failures = 0
