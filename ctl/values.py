"""KEY=VALUE of `peerctl config set`, and values as people read and write them: with units, as TOML."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from typing import Any

from ctl import tomlfile
from ctl.text import parse_duration
from peerd.errors import InvalidInputError
from peerd.settings import PRESET, Key, expanded, find, keys
from peerd.validation import named

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(B|kB|MB|GB|KiB|MiB|GiB|)")
_UNITS = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_WORDS = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


def assignment(text: str) -> tuple[str, Any]:
    """The full name of the key and a value that it may have: `mixing.mean_delay=80ms` -> 0.08.
    InvalidInputError.

    A key that is not known here may be one of a daemon of another version: only that can tell.
    """
    name, separator, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not separator or not name:
        raise InvalidInputError(f"{text!r} is not KEY=VALUE, such as logging.level=debug")
    if name == PRESET:
        return named(name, value)
    try:
        key = find(name)
    except InvalidInputError:
        if "." not in name:
            raise
        return name, _toml(value)
    return named(key.name, _parsed(key, value))


def assignments(texts: tuple[str, ...]) -> dict[str, Any]:
    """Several, each key once; a preset as the keys that it sets."""
    values: dict[str, Any] = {}
    for text in texts:
        name, value = assignment(text)
        if name in values:
            raise InvalidInputError(f"{name}: given twice")
        values[name] = value
    return expanded(values)


def toml(value: Any) -> str:
    return tomlfile.leaf(value)


def from_json(text: str) -> Any:
    """A value as the control API has it; what is none is shown as it came."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parsed(key: Key, text: str) -> Any:
    """What the text means for a key of this kind; whether it is allowed is not looked at."""
    match key.default:
        case bool():
            return _WORDS.get(text.lower(), text)
        case int() | float():
            return _number(key, text)
        case list():
            return _list(text)
        case _:
            return _unquoted(text)


def _number(key: Key, text: str) -> Any:
    whole = isinstance(key.default, int)
    with contextlib.suppress(ValueError):
        return int(text) if whole else float(text)
    if key.name.endswith("_seconds"):
        try:
            return parse_duration(text)
        except InvalidInputError as error:
            raise InvalidInputError(f"{key.name}: {error}") from None
    if "_bytes" in key.name and (found := _SIZE.fullmatch(text)) is not None:
        size = float(found[1]) * _UNITS[found[2]]
        return round(size) if whole else size
    return text


def _list(text: str) -> Any:
    if text.startswith("["):
        return _toml(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _unquoted(text: str) -> Any:
    return _toml(text) if text[:1] in ("'", '"') else text


def _toml(text: str) -> Any:
    """A TOML value, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def completions(incomplete: str) -> list[str]:
    """For the shell: keys that change at runtime; after `=`, the values of one that has few."""
    name, separator, begun = incomplete.partition("=")
    if not separator:
        names = [key.name for key in keys().values() if key.effect != "restart"]
        return [f"{one}=" for one in [*names, PRESET] if one.startswith(name)]
    known = keys().get(name)
    choices = known.allowed.split(", ") if known is not None and not known.allowed.startswith("a ") else []
    return [f"{name}={one}" for one in choices if one.startswith(begun) and one != "text"]
