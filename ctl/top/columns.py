"""The columns of `peerctl top`: what each shows, and which give way on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ctl.top.model import Row
from ctl.top.sample import Rates

GAP = 1
MOST_ALARMS = 20
"""Characters that are kept free for them, if there are any."""


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    width: int
    """0: as wide as what is in it."""
    weight: int
    """The higher, the sooner it gives way."""
    what: str
    """For the help."""
    value: Callable[[Row], Any]
    """What is sorted by; None: not known."""
    text: Callable[[Row], str]
    key: str = ""
    """That sorts by it."""
    number: bool = True
    """Right-aligned; sorted downwards at first."""

    @property
    def downwards(self) -> bool:
        return self.number


def compact(value: float | None) -> str:
    """At most five characters: 0.4, 12, 4,321, 43.2k, 1.2M."""
    if value is None:
        return "-"
    if value < 9.95:
        return f"{value:.1f}" if value else "0"
    if value < 9_999.5:
        return f"{value:,.0f}"
    return f"{value / 1e3:.1f}k" if value < 999_500 else f"{value / 1e6:.1f}M"


def memory(value: int | None) -> str:
    if not value:
        return "-"
    mebibytes = value / (1 << 20)
    return f"{mebibytes:.0f}M" if mebibytes < 999.5 else f"{mebibytes / 1024:.2f}G"


def moment(value: float | None) -> str:
    """A duration in at most six characters."""
    if value is None:
        return "-"
    return f"{value * 1e3:.0f}ms" if value < 0.9995 else f"{value:.2f}s" if value < 99 else f"{value:.0f}s"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def stage(row: Row) -> str:
    return row.stage if row.state == "up" else row.state


def alarms_of(row: Row) -> str:
    """Behind all columns."""
    return ",".join(row.alarms).upper()


def _of(part: int | None, whole: int | None) -> str:
    return "-" if part is None or not whole else f"{part}/{whole}"


def _rate(key: str) -> Callable[[Row], float | None]:
    def get(row: Row) -> float | None:
        flow: Rates | None = row.rates
        return None if flow is None else getattr(flow, key)

    return get


def _flow(title: str, width: int, weight: int, what: str, field: str, key: str = "") -> Column:
    get = _rate(field)
    return Column(title, width, weight, what, get, lambda row: compact(get(row)), key)


def _cpu(title: str, weight: int, what: str, field: str, key: str = "") -> Column:
    get = _rate(field)
    return Column(title, 5, weight, what, get, lambda row: percent(get(row)), key)


COLUMNS: tuple[Column, ...] = (
    Column("Peer", 0, 0, "name", lambda r: r.name, lambda r: r.name, "n", number=False),
    Column("Stage", 10, 1, "stage", stage, lambda r: stage(r) or "-", number=False),
    Column("Round", 6, 2, "round", lambda r: r.round, lambda r: _of(r.round, r.rounds)),
    Column("Fragm.", 8, 12, "fragments of this round", lambda r: r.fragments_received,
           lambda r: _of(r.fragments_received, r.fragments_expected)),
    Column("Accur.", 6, 3, "accuracy", lambda r: r.accuracy,
           lambda r: "-" if r.accuracy is None else f"{r.accuracy:.4f}", "a"),
    Column("Links", 5, 7, "links that are up", lambda r: r.links_up, lambda r: _of(r.links_up, r.links), "l"),
    _cpu("CPU", 3, "CPU of the daemon, of one core", "cpu", "c"),
    Column("Mem", 5, 6, "memory of the daemon", lambda r: r.memory_bytes, lambda r: memory(r.memory_bytes),
           "m"),
    _cpu("T.CPU", 9, "CPU of the trainer", "trainer_cpu"),
    Column("T.mem", 5, 10, "memory of the trainer, at most", lambda r: r.trainer_bytes,
           lambda r: memory(r.trainer_bytes)),
    _flow("In/s", 5, 8, "cells in a second", "cells_in", "i"),
    _flow("Out/s", 5, 3, "cells out a second", "cells_out", "o"),
    _flow("Fwd/s", 5, 4, "forwarded packets a second", "forwarded", "f"),
    _flow("Own/s", 5, 5, "own messages and acknowledgements a second", "own", "w"),
    _flow("Cov/s", 5, 5, "cover packets a second", "cover", "v"),
    _flow("Drop/s", 6, 13, "drops a second", "dropped", "d"),
    Column("RTT", 6, 3, "median round trip", lambda r: r.rtt_seconds, lambda r: moment(r.rtt_seconds), "t"),
    Column("p95", 6, 11, "95 % of the round trips", lambda r: r.rtt_p95_seconds,
           lambda r: moment(r.rtt_p95_seconds)),
    Column("Bits", 5, 4, "entropy of a departure", lambda r: r.entropy_bits,
           lambda r: "-" if r.entropy_bits is None else f"{r.entropy_bits:.2f}", "e"),
    Column("Queue", 6, 10, "own messages under way or waiting", lambda r: r.queued,
           lambda r: compact(r.queued)),
)  # fmt: skip
BY_KEY = {column.key: column.title for column in COLUMNS if column.key}


def fitting(width: int, rows: Sequence[Row]) -> list[tuple[Column, int]]:
    """The columns for which there is room, each with its width, in their order; the first one always."""
    widths = {column.title: _width(column, rows) for column in COLUMNS}
    width -= min(MOST_ALARMS, max((len(alarms_of(row)) + GAP for row in rows if row.alarms), default=0))
    chosen = sorted(COLUMNS, key=lambda column: column.weight)
    kept: set[str] = set()
    used = -GAP
    for column in chosen:
        need = widths[column.title] + GAP
        if used + need > width and kept:
            break
        used += need
        kept.add(column.title)
    return [(column, widths[column.title]) for column in COLUMNS if column.title in kept]


def _width(column: Column, rows: Sequence[Row]) -> int:
    """Wider than planned where something long is in it: a run of a thousand rounds."""
    longest = max((len(column.text(row)) for row in rows), default=0)
    return max(column.width, len(column.title), longest)
