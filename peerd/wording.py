"""What a value may be, in words: of msgspec's types, for errors and for lists of keys."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec.inspect import (
    BoolType,
    DictType,
    FloatType,
    IntType,
    LiteralType,
    Metadata,
    VarTupleType,
)

_STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")
_REGEX = "matching regex"


def allowed(info: Any) -> str:
    """Of a type as `msgspec.inspect` has it: `a whole number from 1 to 16`. A text of a certain form says
    what it is by the `description` in its Meta."""
    match info:
        case Metadata(extra_json_schema={"description": str() as words}):
            return words
        case Metadata():
            return allowed(info.type)
        case LiteralType():
            return ", ".join(map(str, info.values))
        case BoolType():
            return "true, false"
        case IntType():
            return f"a whole number{_range(info)}"
        case FloatType():
            return f"a number{_range(info)}"
        case VarTupleType():
            return f"a list of {allowed(info.item_type)}"
        case _:
            return "text"


def _range(info: Any) -> str:
    low = f" from {info.ge:,}" if info.ge is not None else ""
    low = f" above {info.gt:,}" if info.gt is not None else low
    high = f" to {info.le:,}" if info.le is not None else ""
    high = f" below {info.lt:,}" if info.lt is not None else high
    return low + high


def plain(message: str) -> str:
    """What msgspec says is wrong, without the regular expressions that it shows."""
    return "not of the form that it must have" if _REGEX in message else message


def explained(message: str, kind: Any, path: str) -> str:
    """The same with what is allowed, where the message does not tell: of the value at `path` in a `kind`."""
    if _REGEX not in message and not message.startswith("Invalid enum value"):
        return message
    info = _at(msgspec.inspect.type_info(kind), path)
    return f"{plain(message)}; allowed: {allowed(info)}" if info is not None else plain(message)


def _at(info: Any, path: str) -> Any:
    """`$.a[0].b`, or `` `key` in `$.a` `` of a name in a map."""
    of, _, place = path.rpartition(" in ")
    for step in _STEP.findall(place.strip("`").removeprefix("$")):
        info = _step(_bare(info), step)
    return getattr(_bare(info), "key_type", None) if of else info


def _step(info: Any, step: str) -> Any:
    if isinstance(info, DictType):
        return info.value_type
    if step.startswith("["):
        return getattr(info, "item_type", None)
    return next((f.type for f in getattr(info, "fields", ()) if f.encode_name == step), None)


def _bare(info: Any) -> Any:
    return info.type if isinstance(info, Metadata) else info
