"""The whole screen of `peerctl top`, drawn from the model and what the keys have set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.text import Text

from ctl.text import RUN_DIGITS, duration, one_line
from ctl.top.columns import COLUMNS, Column, alarms_of, compact, fitting, memory, moment, percent
from ctl.top.controls import HELP, Controls
from ctl.top.marks import Marks
from ctl.top.model import Model, Row, Summary
from ctl.top.panel import panel

LEAST_ROWS = 3
"""Of the table, before the panel gives way."""
WIDE = 100
"""Columns from which there is room for a long bar, and for how far the peers are apart."""
STAGES = {"away": "red", "draining": "yellow", "waiting": "dim", "failed": "red", "paused": "yellow",
          "training": "cyan", "exchanging": "green", "evaluating": "blue", "listening": "yellow"}  # fmt: skip
KEYS = "q quit  h help  space pause  ←→ sort  r reverse  ↑↓ select  / filter  Enter more"
PLAIN_KEYS = "q quit  h help  space pause  <> sort  r reverse  j k select  / filter  Enter more"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Lines, none wider than the screen, and what keys refer to."""

    lines: tuple[Text, ...]
    shown: tuple[Row, ...]
    titles: tuple[str, ...]


def draw(
    model: Model, controls: Controls, size: tuple[int, int], clock: str, interval: float, marks: Marks
) -> Drawn:
    """`size`: columns and lines. `clock`: the time of day."""
    width, height = size
    rows = controls.arranged(model.rows())
    columns = fitting(width, rows)
    titles = tuple(column.title for column, _ in columns)
    summary = model.summary()
    state = Text("PAUSED", style="bold reverse") if controls.paused else Text(f"every {duration(interval)}")
    lines = head(summary, width, _joined(Text(f"{clock}  "), state), marks)
    foot = _foot(controls, marks)
    if controls.help:
        lines += _help(max(0, height - len(lines) - 1))
    else:
        lines += _body(model, controls, rows, columns, (width, height - len(lines) - 1), marks)
    lines = lines[: max(0, height - 1)]
    lines += [Text()] * (height - 1 - len(lines))
    return Drawn(tuple(_cut(line, width) for line in [*lines, foot][:height]), tuple(rows), titles)


def once(model: Model, width: int, clock: str, interval: float, marks: Marks) -> list[Text]:
    """One frame for scripts and mails: every peer, no keys."""
    rows = Controls().arranged(model.rows())
    columns = fitting(width, rows)
    state = Text(f"{clock}  over {duration(interval)}")
    lines = head(model.summary(), width, state, marks)
    lines += [_titles(columns, ""), *(_line(row, columns, False) for row in rows)]
    return [_cut(line, width) for line in lines]


def head(summary: Summary, width: int, right: Text, marks: Marks) -> list[Text]:
    """Five lines on all peers together."""
    left = Text("peerctl top", style="bold")
    left.append(f"  {summary.network or 'no network yet'}  ", style="bold cyan" if summary.network else "dim")
    fewer = summary.answering < summary.peers
    left.append(f"{summary.answering}/{summary.peers} peers", style="bold red" if fewer else "green")
    left.append("  ")
    poor = summary.links_up < summary.links
    left.append(f"{summary.links_up}/{summary.links} links", style="yellow" if poor else "green")
    gap = width - left.cell_len - right.cell_len
    first = _joined(left, Text(" " * gap), right) if gap > 0 else left
    flow, work = _figures(summary)
    return [first, _run_line(summary, width, marks), flow, work, _alarm_line(summary)]


def _run_line(summary: Summary, width: int, marks: Marks) -> Text:
    run = summary.run
    if run is None:
        return Text("Run       none", style="dim")
    line = Text("Run       ", style="dim")
    line.append(f"{run.spec.run_id[:RUN_DIGITS]} {one_line(run.spec.task)}", style="bold")
    state = "" if run.state == "running" else f" {one_line(run.state)}"
    line.append(f"{state}  round {run.round}/{run.spec.rounds}  ")
    done = f" {percent(summary.progress)}  "
    accuracy = _accuracy(summary, width)
    room = width - line.cell_len - len(done) - accuracy.cell_len  # a figure that is cut is a wrong one
    line.append(marks.bar(summary.progress, max(0, min(room, 20 if width >= WIDE else 10))), style="green")
    line.append(done).append_text(accuracy)
    curve = marks.curve(summary.curve, width - line.cell_len - 1)
    return _joined(line, Text(f" {curve}", style="green")) if len(summary.curve) > 1 else line


def _accuracy(summary: Summary, width: int) -> Text:
    line = Text()
    if summary.accuracies:
        low, high = min(summary.accuracies), max(summary.accuracies)
        line.append(f"accuracy {fmean(summary.accuracies):.4f}", style="bold")
        line.append(f" ({low:.3f}..{high:.3f})" if high - low >= 0.001 and width >= WIDE else "")
    return line


def _figures(summary: Summary) -> tuple[Text, Text]:
    """What goes over the links, and what it takes."""
    flow = summary.rates
    names = ("cells_in", "cells_out", "forwarded", "own", "cover", "dropped")
    moved = [(name.removeprefix("cells_"), compact(getattr(flow, name) if flow else None)) for name in names]
    bits = "-" if summary.entropy_bits is None else f"{summary.entropy_bits:.2f} bits"
    taken = [
        ("CPU", percent(flow.cpu + flow.trainer_cpu if flow else None)),
        ("memory", memory(summary.memory_bytes)),
        ("round trip", moment(summary.rtt_seconds)),
        ("entropy", bits),
    ]
    return _named("A second  ", moved), _named("All       ", taken)


def _named(title: str, figures: Sequence[tuple[str, str]]) -> Text:
    line = Text(title, style="dim")
    for name, value in figures:
        line.append(f"{name} ", style="dim")
        line.append(f"{value}  ", style="not dim")
    return line


def _alarm_line(summary: Summary) -> Text:
    if not summary.alarms:
        return Text("Alarms    none", style="dim")
    told = "; ".join(
        f"{alarm.upper()} ({'all' if len(names) == summary.peers else ', '.join(names)})"
        for alarm, names in summary.alarms.items()
    )
    return Text(f"ALARMS    {told}", style="bold red")


def _body(
    model: Model,
    controls: Controls,
    rows: Sequence[Row],
    columns: Sequence[tuple[Column, int]],
    room: tuple[int, int],
    marks: Marks,
) -> list[Text]:
    """The table, as many rows as there is room for around the selected one, and below it the panel."""
    width, height = room
    spare = height - 2 - min(len(rows), max(LEAST_ROWS, height // 2))
    below: list[Text] = []
    place = controls.place(rows)
    if controls.panel and rows and spare > LEAST_ROWS:
        below = panel(rows[place], model, (width, spare), marks)
    fit = max(1, height - 1 - (len(below) + 1 if below else 0))
    first = min(max(0, place - fit // 2), max(0, len(rows) - fit))
    lines = [_titles(columns, controls.sort)]
    if not rows:
        lines.append(Text(f"No peer has {controls.filter!r}; Esc shows all.", style="yellow"))
    lines += [_line(row, columns, first + i == place) for i, row in enumerate(rows[first : first + fit])]
    return [*lines, Text(), *below] if below else lines


def _titles(columns: Sequence[tuple[Column, int]], sort: str) -> Text:
    line = Text()
    for column, width in columns:
        style = "bold cyan reverse" if column.title == sort else "bold cyan"
        cell = column.title.rjust(width) if column.number else column.title.ljust(width)
        line.append(cell, style=style)
        line.append(" ")
    return line


def _line(row: Row, columns: Sequence[tuple[Column, int]], selected: bool) -> Text:
    """Of a peer that does not answer: why, in the place of what it would say."""
    line = Text()
    for column, width in columns[:2] if row.error else columns:
        text = column.text(row)
        cell = text.rjust(width) if column.number else text.ljust(width)
        line.append(cell, style="reverse" if selected else _style(column, row))
        line.append(" ", style="reverse" if selected else "")
    if row.alarms:
        line.append(alarms_of(row), style="bold red")
    elif row.error:
        line.append(row.error, style="red")
    return line


def _style(column: Column, row: Row) -> str:
    if column.title == "Stage":
        return STAGES.get(column.text(row), "")
    if row.state in ("away", "waiting"):
        return "dim"
    if column.title == "Links" and (row.links_up or 0) < (row.links or 0):
        return "yellow"
    return "bold" if column.title == "Peer" else ""


def _help(room: int) -> list[Text]:
    """The keys, and what the columns are where that has room, too."""
    lines = [Text("Keys", style="bold"), *(_entry(keys, text) for keys, text in HELP)]
    columns = [Text(), Text("Columns", style="bold"), *(_entry(one.title, one.what) for one in COLUMNS)]
    return lines + columns if len(lines) + len(columns) <= room else lines


def _entry(keys: str, text: str) -> Text:
    return _joined(Text(f"{keys:>14}  ", style="bold"), Text(text))


def _foot(controls: Controls, marks: Marks) -> Text:
    if controls.editing:
        return Text(f"/{controls.filter}_", style="bold")
    keys = Text(PLAIN_KEYS if marks.plain else KEYS, style="dim")
    if not controls.filter:
        return keys
    return _joined(Text(f"filter {controls.filter!r}  ", style="bold yellow"), keys)


def _joined(*parts: Text) -> Text:
    return Text.assemble(*parts)


def _cut(line: Text, width: int) -> Text:
    """A copy that is no wider; what is cut says so."""
    if line.cell_len <= width:
        return line
    line = line.copy()
    line.truncate(width, overflow="crop")
    return line
