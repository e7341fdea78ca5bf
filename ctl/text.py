"""Numbers and strangers' strings, made fit for a terminal."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import click

from peerd.errors import InvalidInputError

RUN_DIGITS = 8
"""Of a run id, for people."""
_UNITS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*(us|ms|s|min|m|h|)")


def one_line(text: str) -> str:
    """Without line breaks, control characters and runs of blanks: what a peer says cannot steer the
    terminal, and an error is one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def printable(text: str) -> str:
    """A line of a log: indentation stays, control characters do not."""
    return "".join(c if c.isprintable() else " " for c in text.rstrip())


def seconds(value: float) -> str:
    """0.0123 -> 12 ms; 83 -> 1m23s."""
    if value < 0.0005:
        return f"{value * 1e6:.0f} us" if value > 0 else "0"
    if value < 1:
        return f"{value * 1e3:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def duration(value: float) -> str:
    """Exact, as `parse_duration` takes it: 0.05 -> 50ms; 300 -> 300s."""
    unit = "s" if value == 0 or value >= 1 else "ms" if value >= 1e-3 else "us"
    digits = f"{value / _UNITS[unit]:.6f}".rstrip("0").rstrip(".")
    return f"{digits}{unit}"


def moment(at: float, now: float) -> str:
    """The time of today, with the date of any other day; what cannot be a time is shown as it came."""
    try:
        then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    except (ValueError, OverflowError, OSError):
        return f"{at:g}"
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def number_of(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def size(value: float) -> str:
    """Bytes in powers of 1024."""
    if value < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} GiB"


def epsilon_of(value: float) -> str:
    """Never less than it is: 0.00123 -> 0.00124; 28.3734 -> 28.38; 4380.4 -> 4,381."""
    if value >= 1000:
        return f"{math.ceil(value):,}"
    if value >= 1 or value == 0:
        return f"{math.ceil(value * 100) / 100:.2f}"
    step = math.floor(math.log10(value)) - 2
    return f"{math.ceil(value / 10.0**step) * 10.0**step:.3g}"


def count(value: int) -> str:
    return f"{value:,}"


def parse_duration(text: str) -> float:
    """Seconds of '50ms', '1.5s', '2m' or a plain number of seconds. InvalidInputError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise InvalidInputError(f"{text!r} is not a duration such as 50ms, 1.5s or 2m")
    return float(found[1]) * _UNITS[found[2]]


class Duration(click.ParamType[float]):
    """A click type: durations with a unit, in seconds without one."""

    name = "duration"

    def __init__(self, positive: bool = False, least: float = 0.0, most: float = math.inf) -> None:
        self._positive = positive
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            parsed = parse_duration(str(value))
        except InvalidInputError as error:
            self.fail(str(error), param, ctx)
        if self._positive and not parsed:
            self.fail(f"{value!r} must be more than 0", param, ctx)
        if parsed < self._least:
            self.fail(f"{value!r} must be at least {duration(self._least)}", param, ctx)
        if parsed > self._most:
            self.fail(f"{value!r} must be at most {duration(self._most)}", param, ctx)
        return parsed
