"""What a command prints: tables for people, one JSON or YAML document for programs, errors on stderr.

Strings from peers are shown without markup and without control characters.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import click
import yaml
from google.protobuf.message import Message
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ctl.fanout import Failure
from ctl.text import one_line, printable
from peerd.errors import PeerdError

OUTPUTS = ("table", "json", "yaml")
WIDTH = 400
"""Columns for what is printed once: no cell is cut, a narrow terminal wraps."""
_LINE_END = re.compile(r"(?: |\x1b\[[0-9;]*m)+$", re.MULTILINE)


def show(*things: RenderableType) -> None:
    """On stdout, once. Without the blanks that rich fills lines up with: a terminal that is as wide as
    the text would wrap them into empty lines."""
    console = Console(highlight=False, markup=False, width=WIDTH)
    with console.capture() as captured:
        for thing in things:
            console.print(thing)
    click.echo(_LINE_END.sub(lambda end: end[0].replace(" ", ""), captured.get()), nl=False)


def terminal_columns() -> int:
    """Of $COLUMNS or the terminal; WIDTH where there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def progress_console(stderr: bool) -> Console:
    """For what is redrawn: as wide as the terminal, if it is one."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, width=width)


def fitting(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    spare: Iterable[str],
    title: str | None = None,
) -> Table:
    """A table without those of the `spare` columns, in their order, for which a terminal is too narrow."""
    known, limit, measure = list(rows), terminal_columns(), Console(width=WIDTH).measure
    kept = list(range(len(columns)))
    made = table(columns, known, title)
    for name in spare:
        if measure(made).maximum <= limit:
            break
        kept.remove(columns.index(name))
        made = table([columns[i] for i in kept], ([row[i] for i in kept] for row in known), title)
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A plain table; a column whose title ends in '#' is right-aligned."""
    made = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for column in columns:
        right = column.endswith("#")
        made.add_column(column.rstrip("#"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        made.add_row(*(Text(one_line(str(cell))) for cell in row))
    return made


def details(pairs: Iterable[tuple[str, object]], title: str | None = None) -> Table:
    """Key and value, one pair a line."""
    made = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        show_header=False,
        pad_edge=False,
    )
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for key, value in pairs:
        made.add_row(Text(key), Text(one_line(str(value))))
    return made


def text(lines: str) -> Text:
    """Several lines as they are, without markup; what is not printable becomes a blank."""
    return Text("\n".join(printable(line) for line in lines.split("\n")), no_wrap=True)


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same value twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def document(value: Any, output: str, indent: int | None = None) -> str:
    """`value` as JSON or YAML, without the line's end; ValueError for a number that JSON does not have."""
    if output == "yaml":
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
        return text.removesuffix("\n").removesuffix("\n...")
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def print_data(value: Any, output: str) -> None:
    """The one document on stdout; JSON is on one line when it is piped."""
    click.echo(document(value, output, 2 if sys.stdout.isatty() else None))


def print_next(value: Any, output: str) -> None:
    """One of many: JSON on a line of its own, YAML after the mark that begins a document."""
    click.echo(f"---\n{document(value, output)}" if output == "yaml" else document(value, output))


def print_notice(value: Any, output: str) -> None:
    """A document on stderr, beside that on stdout."""
    click.echo(document(value, output), err=True)


def plain(message: Message, without: Collection[str] = ()) -> dict[str, Any]:
    """A protobuf message as plain data under its proto names; 64-bit integers stay numbers.

    Numbers that JSON does not have (NaN of a diverged model) become None, and so do absent optional ones.
    """
    return {
        field.name: _value(field, _get(message, field), without)
        for field in message.DESCRIPTOR.fields
        if field.name not in without
    }


def _get(message: Message, field: Any) -> Any:
    absent = field.has_presence and field.message_type is None and not message.HasField(field.name)
    return None if absent else getattr(message, field.name)


def _value(field: Any, value: Any, without: Collection[str]) -> Any:
    if isinstance(value, Message):
        return plain(value, without)
    if isinstance(value, Mapping):
        return {key: value[key] for key in sorted(value)}
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    return [_value(field, item, without) for item in value]


def report(error: PeerdError, output: str) -> None:
    """An error as one line on stderr, or as an object; the tail of a log follows its error."""
    if output != "table":
        print_notice({"error": error_data(error)}, output)
        return
    click.echo(f"peerctl: {one_line(str(error))}", err=True)
    for line in getattr(error, "tail", ()):
        click.echo(f"    {printable(line)}", err=True)


def report_failures(failures: Sequence[Failure], output: str, hint: str = "") -> None:
    """One line a peer; for programs, one object under the peers' names. `hint` says what to do now."""
    if not failures:
        return
    if output != "table":
        data = {failure.name: error_data(failure.error) for failure in failures}
        print_notice({"errors": data} | ({"hint": hint} if hint else {}), output)
        return
    for failure in failures:
        report(failure.error, output)
    if hint:
        click.echo(f"peerctl: {hint}", err=True)


def error_data(error: PeerdError) -> dict[str, Any]:
    data: dict[str, Any] = {
        "message": one_line(str(error)),
        "status": error.grpc_status,
        "exit_code": error.exit_code,
    }
    if tail := getattr(error, "tail", None):
        data["tail"] = [printable(line) for line in tail]
    return data
