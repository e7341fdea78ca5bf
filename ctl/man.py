"""Manual pages out of a click program's own help: nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import click

SECTION = 1
_SPECIAL = {"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "`": "\\(ga", "'": "\\(aq"}
_EXAMPLES = re.compile(r"Examples?:\Z")
_EXIT_CODES = "Exit codes:"
_MARK = re.compile(r"\n *\x08 *\n")


@dataclass(slots=True)
class _Text:
    """A help text: what it is about, and the parts that have sections of their own."""

    summary: str
    description: list[list[str]] = field(default_factory=list)
    """Blocks of lines; the first of one that stays as it is, is empty."""
    examples: list[str] = field(default_factory=list)
    exit_codes: list[str] = field(default_factory=list)


def pages(program: click.Command, name: str, version: str, at: float) -> Iterator[tuple[str, str]]:
    """File name and contents of the page of `program` and of each command in it. `at`: Unix time of its
    making, for the footer."""
    date = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    context = click.Context(program, info_name=name)
    yield from _pages(program, context, version, date, ())


def _pages(
    command: click.Command, context: click.Context, version: str, date: str, above: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    title = context.command_path.replace(" ", "-")
    yield f"{title}.{SECTION}", "\n".join(_page(command, context, version, date, above)) + "\n"
    if isinstance(command, click.Group):
        for name, inner in _inner(command, context):
            below = click.Context(inner, info_name=name, parent=context)
            yield from _pages(inner, below, version, date, (*above, title))


def _inner(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield name, command


def _page(
    command: click.Command, context: click.Context, version: str, date: str, above: Sequence[str]
) -> Iterator[str]:
    path = context.command_path
    title, text = path.replace(" ", "-"), _parsed(command.help or "")
    program = path.split()[0]
    release = escape(f"peerd {version}")
    yield f'.TH "{escape(title.upper())}" "{SECTION}" "{date}" "{release}" "{program} manual"'
    yield from (".SH NAME", f"{escape(title)} \\- {escape(text.summary.rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {escape(path)}", escape(" ".join(command.collect_usage_pieces(context))))
    if text.description:
        yield ".SH DESCRIPTION"
        yield from _blocks(text.description)
    options = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    if options:
        yield ".SH OPTIONS"
        for names, meaning in options:
            yield from (".TP", f".B {escape(names)}", *_line(meaning))
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for name, inner in _inner(command, context):
            yield from (".TP", f".BR {escape(f'{title}-{name}')} ({SECTION})",
                        *_line(_parsed(inner.help or "").summary))  # fmt: skip
    if text.exit_codes:
        yield ".SH EXIT STATUS"
        yield from _verbatim(text.exit_codes)
    if text.examples:
        yield ".SH EXAMPLES"
        yield from _verbatim(text.examples)
    if above:
        yield ".SH SEE ALSO"
        yield from _see(above)


def _see(names: Sequence[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        comma = "," if place < len(names) - 1 else ""
        yield f".BR {escape(name)} ({SECTION}){comma}"


def _parsed(help_text: str) -> _Text:
    """By the conventions of our help: `\\b` begins a block whose lines stay, examples and exit codes have
    their own."""
    marked = _MARK.sub("\n\n\b\n", _unindented(help_text))
    blocks = [block.strip("\n").split("\n") for block in marked.split("\n\n") if block.strip("\n ")]
    text = _Text(summary=" ".join(blocks[0]) if blocks else "")
    for block in blocks[1:]:
        lines = block[1:] if block[0].strip() == "\b" else block
        if _EXAMPLES.match(lines[0].strip()):
            text.examples += lines[1:]
        elif lines[0].strip() == _EXIT_CODES:
            text.exit_codes += lines[1:]
        else:
            text.description.append(["", *lines] if lines is not block else lines)
    return text


def _unindented(text: str) -> str:
    """Also where a block's mark stands alone on a line of its own indentation."""
    lines = text.replace("\f", "").expandtabs().strip("\n").split("\n")
    rest = [len(line) - len(line.lstrip(" ")) for line in lines[1:] if line.strip()]
    cut = min(rest, default=0)
    return "\n".join([lines[0].strip(), *(line[cut:].rstrip(" ") for line in lines[1:])])


def _blocks(blocks: Sequence[Sequence[str]]) -> Iterator[str]:
    for place, block in enumerate(blocks):
        if place:
            yield ".PP"
        if block[0]:
            yield from (escape(line.strip()) for line in block)
        else:
            yield from _verbatim(block[1:])


def _verbatim(lines: Sequence[str]) -> Iterator[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    yield from (".nf", *(escape(line) if line.strip() else ".sp" for line in lines), ".fi")


def _line(text: str) -> list[str]:
    """None for an empty one: roff warns of it."""
    return [escape(" ".join(text.split()))] if text.strip() else []


def escape(text: str) -> str:
    """Of roff: no character has a meaning, no line is a request."""
    found = "".join(
        _SPECIAL.get(character, character if character.isascii() else f"\\[u{ord(character):04X}]")
        for character in text
    )
    return f"\\&{found}" if found.startswith((".", "\\(aq")) else found
