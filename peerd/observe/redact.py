"""What may appear in a log line: a structlog processor that hides the rest.

Values are hidden by the name they are logged under, by their type (bytes in this program are keys,
tags, SURBs and packets), and by their look (a long run of hex digits, a PEM block, a bytes literal in
an error message). Only the value of `peer=` may be such a run: the id of a direct neighbour, named on
purpose. What is no plain value shows as its type alone, since a `repr` may hold anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import PurePath
from typing import Any

REDACTED = "[redacted]"
MAX_VALUE = 2000
"""Characters of a value; the middle of a longer one is left out."""
MAX_ITEMS = 50
MAX_DEPTH = 4

_SECRET_PART = re.compile(r"key|secret|private|token|passw|passphrase|surb|credential|cookie", re.I)
_SECRET_WORD = frozenset({"tag", "tags", "seed", "nonce", "mac", "hmac", "pem", "packet", "payload", "auth"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_PEM = re.compile(r"-----BEGIN .*?(-----END[^\n]*|$)", re.DOTALL)
_BYTES = re.compile(r"""\bb(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")
_PEER_ID = re.compile(r"[0-9a-f]{32}")

Event = MutableMapping[str, Any]


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Hide what is secret, cut what is long, escape what would break the line."""
    cleaned = {_text(str(name)): _field(str(name), value) for name, value in event.items()}
    event.clear()
    event.update(cleaned)
    return event


def looks_secret(name: str) -> bool:
    """Whether what is logged under this name is hidden."""
    if _SECRET_PART.search(name):
        return True
    return any(word.lower() in _SECRET_WORD for word in _WORDS.findall(name))


def _field(name: str, value: Any) -> Any:
    if looks_secret(name):
        return REDACTED
    if name == "peer" and isinstance(value, str) and _PEER_ID.fullmatch(value):
        return value
    if name == "exception" and isinstance(value, str):  # a traceback: its line breaks stay
        return "\n".join(_text(line) for line in _hide(value).split("\n"))
    return _clean(value, MAX_DEPTH)


def _clean(value: Any, depth: int) -> Any:
    match value:
        case None | bool():
            return value
        case Enum():
            return _clean(value.value, depth)
        case str():
            return _text(value)
        case int():
            return value if value.bit_length() <= 64 else REDACTED
        case float():
            return value if math.isfinite(value) else str(value)
        case PurePath():
            return _text(str(value))
        case BaseException():
            return _text(f"{type(value).__name__}: {value}")
        case bytes() | bytearray() | memoryview():
            return REDACTED
        case Mapping() | list() | tuple() | set() | frozenset() if depth == 0:
            return "..."
        case Mapping():
            return _mapping(value, depth - 1)
        case list() | tuple() | set() | frozenset():
            return _items(value, depth - 1)
        case _:
            return f"<{type(value).__name__}>"


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for number, (key, item) in enumerate(value.items()):
        if number == MAX_ITEMS:
            shown["..."] = f"{len(value) - MAX_ITEMS} more"
            break
        name = key if isinstance(key, str) else str(_clean(key, 0))
        shown[_text(name)] = REDACTED if looks_secret(name) else _clean(item, depth)
    return shown


def _items(value: Any, depth: int) -> list[Any]:
    shown = []
    for number, item in enumerate(value):
        if number == MAX_ITEMS:
            shown.append(f"... {len(value) - MAX_ITEMS} more")
            break
        shown.append(_clean(item, depth))
    return shown


def _text(value: str) -> str:
    """One line: strangers' text breaks neither the line nor the terminal."""
    shown = _hide(value)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def _hide(value: str) -> str:
    """Without key material; long text keeps its beginning and its end.

    It is hidden before it is cut, so that no half of a key is left at the seam.
    """
    shown = value
    for pattern in (_PEM, _BYTES, _HEX):
        shown = pattern.sub(REDACTED, shown)
    if len(shown) <= MAX_VALUE:
        return shown
    half = MAX_VALUE // 2
    return f"{shown[:half]} ... {shown[-half:]}"
