"""One line in the log for many events of one kind. Sans-IO."""

from __future__ import annotations

from collections.abc import Hashable


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
        self._tokens = min(self._tokens + (now - self._last) * self._per_second, self._burst)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
