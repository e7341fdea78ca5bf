"""Not too often: one line in the log for many events of one kind, and token buckets. Sans-IO."""

from __future__ import annotations

from collections.abc import Hashable

SWEEP_AT = 64
"""So many token buckets at least, before full ones are looked for."""


class Throttle:
    """Admits one event of a kind in `every` seconds. The kinds must be few: each is remembered."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._last: dict[Hashable, float] = {}
        self._skipped: dict[Hashable, int] = {}

    def admit(self, kind: Hashable, now: float) -> int | None:
        """How many were skipped since the last line, or None: skip this one too."""
        last = self._last.get(kind)
        if last is not None and now < last + self._every:
            self._skipped[kind] = self._skipped.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._skipped.pop(kind, 0)


class TokenBucket:
    """A token bucket: `per_second` on average, `burst` at a time."""

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._last = now

    def admit(self, now: float) -> bool:
        """Whether one more may pass now."""
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def full(self, now: float) -> bool:
        """Whether it is like a new one."""
        self._fill(now)
        return self._tokens >= self._burst

    def _fill(self, now: float) -> None:
        self._tokens = min(self._tokens + (now - self._last) * self._per_second, self._burst)
        self._last = now


class TokenBuckets:
    """A token bucket for each of those who drew on theirs of late. Full ones are forgotten: a new one is
    the same. So who connects anew gets no new allowance, and memory is bounded by who has drawn on it."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[Hashable, TokenBucket] = {}
        self._sweep_at = SWEEP_AT

    def of(self, who: Hashable, now: float) -> TokenBucket:
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= self._sweep_at:
                self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now)}
                self._sweep_at = max(2 * len(self._buckets), SWEEP_AT)
            bucket = self._buckets[who] = TokenBucket(self._per_second, self._burst, now)
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)
