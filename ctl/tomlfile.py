"""Writing the small TOML files that peerctl owns. Reading is the standard library's `tomllib`."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(table: Mapping[str, Any]) -> str:
    """TOML of nested tables whose leaves are str, bool, int or finite float. TypeError for others."""
    lines: list[str] = []
    _write(table, (), lines)
    return "\n".join(lines) + "\n"


def _write(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    leaves = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (leaves or not table):
        if lines:
            lines.append("")
        lines.append(f"[{'.'.join(map(_key, path))}]")
    lines.extend(f"{_key(key)} = {leaf(value)}" for key, value in leaves.items())
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write(value, (*path, key), lines)


def _key(text: str) -> str:
    return text if _BARE.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, but for DEL and surrogates."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def leaf(value: Any) -> str:
    """A value as TOML has it. TypeError for others than str, bool, int, finite float, and lists of these."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return _string(value)
        case tuple() | list():
            return f"[{', '.join(map(leaf, value))}]"
    raise TypeError(f"a TOML file of ours holds no {type(value).__name__}")


def write(path: Path, table: Mapping[str, Any]) -> None:
    """Replace a file as a whole; it may name keys, so only its owner reads it. OSError."""
    write_text(path, dumps(table))


def write_text(path: Path, text: str) -> None:
    """The same for any text: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
