"""Bars and curves out of characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Marks:
    plain: bool
    """ASCII alone: the terminal's locale has no Unicode."""

    def bar(self, share: float, width: int) -> str:
        filled = round(min(1.0, max(0.0, share)) * width)
        full, empty = ("#", ".") if self.plain else ("━", "╌")
        return full * filled + empty * (width - filled)

    def line(self, width: int) -> str:
        return ("-" if self.plain else "─") * max(0, width)

    def curve(self, values: Sequence[float], width: int) -> str:
        """The latest `width` values between their least and greatest; empty in ASCII, and without room."""
        shown = values[-width:] if width > 0 else ()
        if self.plain or len(shown) < 2:
            return ""
        low, high = min(shown), max(shown)
        scale = (len(LEVELS) - 1) / (high - low) if high > low else 0.0
        return "".join(LEVELS[round((value - low) * scale)] for value in shown)
