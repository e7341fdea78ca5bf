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
