"""Commands of a document, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_of(document: Path, heading: str) -> list[str]:
    """Of a section, up to the next heading, in order: what stands behind `$ `, with lines behind `> `."""
    _, found, rest = document.read_text().partition(f"\n{heading}\n")
    assert found, f"{document}: there is no {heading!r}"
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    commands: list[str] = []
    for block in _BLOCK.findall(section):
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(line[2:])
            elif line.startswith("> "):
                commands[-1] += f"\n{line[2:]}"
    return commands
