"""The configuration by its keys (`mixing.hops`): what each may be, what differs, from when on a change holds.

A key that is not told of here needs a restart: no new one is thought to change at runtime when it does not.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import msgspec

from peerd import wording
from peerd.config import PeerdConfig, convert
from peerd.errors import InvalidInputError
from peerd.presets import preset_fields

Effect = Literal["now", "next run", "restart"]
"""now: what was set holds at once; next run: from the next run, or the next trainer process of one."""

PRESET = "mixing.preset"
"""No key of the configuration: it sets several, in a file and at runtime."""

_EFFECTS: Mapping[str, Effect] = {
    "mixing": "now",
    "delivery": "now",
    "relay.inbox_limit": "now",
    "link.queue_cells": "now",
    "membership": "now",
    "membership.max_members": "restart",
    "membership.advertise": "restart",
    "training": "next run",
    "training.join": "now",
    "training.keep_checkpoints": "now",
    "metrics.neighbour_labels": "now",
    "logging": "now",
}
"""By key, or for the rest of a section."""

OF_THE_HOST = frozenset(
    {
        "state_dir",
        "link.listen",
        "membership.advertise",
        "membership.dial_allow",
        "enrolment.listen",
        "training.data_dir",
        "training.tasks",
        "training.task_path",
        "control.unix",
        "control.listen",
        "metrics.listen",
        "metrics.page_hosts",
        "logging.file",
        "trace.file",
    }
)
"""Paths, code to import, addresses: never set over the network, whatever the operator's role."""


@dataclass(frozen=True, slots=True)
class Key:
    name: str
    kind: Any
    """The type as annotated, to be given to msgspec."""
    default: Any
    """As plain data."""
    allowed: str
    """For people: `a whole number from 1 to 16`."""
    effect: Effect


@dataclass(frozen=True, slots=True)
class Difference:
    key: str
    before: Any
    after: Any
    effect: Effect


def flat(config: PeerdConfig) -> dict[str, Any]:
    """Plain values by key, in the order of the file."""
    values: dict[str, Any] = {}
    for name, value in msgspec.to_builtins(config).items():
        if isinstance(value, dict):
            values |= {f"{name}.{key}": _plain(inner) for key, inner in value.items()}
        else:
            values[name] = _plain(value)
    return values


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def effect_of(key: str) -> Effect:
    section = key.partition(".")[0]
    return _EFFECTS.get(key) or _EFFECTS.get(section, "restart")


def section_of(key: str) -> str:
    """`mixing` of `mixing.hops`; a key outside all sections is its own."""
    return key.partition(".")[0]


@cache
def keys() -> Mapping[str, Key]:
    """Every key, in the order of the file."""
    defaults = flat(PeerdConfig())
    return MappingProxyType({name: _key(name, kind, defaults[name]) for name, kind in _kinds(PeerdConfig)})


def _kinds(kind: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _kinds(field.type, f"{field.encode_name}.")
        else:
            yield prefix + field.encode_name, field.type


def _key(name: str, kind: Any, default: Any) -> Key:
    choices = get_args(kind) if get_origin(kind) is Literal else ()  # in the order in which they were written
    allowed = ", ".join(choices) or wording.allowed(msgspec.inspect.type_info(kind))
    return Key(name, kind, default, allowed, effect_of(name))


def find(name: str) -> Key:
    """By its name, or by that without its unit: `mixing.mean_delay`, `mixing.loop_rate`. InvalidInputError
    for one that is none, with what may have been meant."""
    known = keys()
    for ending in ("", "_seconds", "_per_second", "_bytes", "_bytes_per_second"):
        if (found := known.get(name + ending)) is not None:
            return found
    raise InvalidInputError(unknown(name))


def unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [*keys(), PRESET], 3, 0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else "; `peerctl config show` lists all keys"
    return f"{name}: no such key{meant}"


def value_of(key: Key, value: Any, where: str = "") -> Any:
    """Plain data that a key may have. InvalidInputError in one line: file, key, what is wrong and what is
    allowed."""
    try:
        return _plain(msgspec.to_builtins(msgspec.convert(value, key.kind)))
    except msgspec.ValidationError as error:
        wrong = wording.plain(str(error).partition(" - at ")[0])
        source = f"{where}: " if where else ""
        raise InvalidInputError(f"{source}{key.name}: {wrong}; allowed: {key.allowed}") from None


def merged(config: PeerdConfig, values: Mapping[str, Any], where: str = "") -> PeerdConfig:
    """With these values by key; those of `mixing.preset` come first. InvalidInputError."""
    whole: dict[str, Any] = msgspec.to_builtins(config)
    for name, value in expanded(values).items():
        key = keys().get(name)
        if key is None:
            raise InvalidInputError(unknown(name))
        section, _, inner = name.partition(".")
        target = whole[section] if inner else whole
        target[inner or section] = value_of(key, value, where)
    return convert(whole, PeerdConfig, where or "configuration")


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without `mixing.preset`: the keys that it sets, and that are not given themselves, instead."""
    given = dict(values)
    preset = given.pop(PRESET, "")
    return {f"mixing.{field}": value for field, value in preset_fields(str(preset)).items()} | given


def differences(before: PeerdConfig, after: PeerdConfig) -> list[Difference]:
    """Key by key, in the order of the file."""
    old, new = flat(before), flat(after)
    return [
        Difference(key, value, new[key], effect_of(key)) for key, value in old.items() if value != new[key]
    ]


def at_runtime(before: PeerdConfig, after: PeerdConfig) -> PeerdConfig:
    """`before` with whatever of `after` needs no restart."""
    changed = differences(before, after)
    return merged(before, {one.key: one.after for one in changed if one.effect != "restart"})
