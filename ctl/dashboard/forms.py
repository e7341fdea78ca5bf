"""What the page's forms send, read as strictly as the command line reads its options."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ctl.defaults import make_spec
from ctl.text import parse_duration
from peerd.errors import InvalidInputError
from peerd.pb import mixing_pb2
from peerd.types import RunSpec

SECONDS = "_seconds"
JOIN_SECONDS = 15.0
"""As `run start --join-window` by default."""
RUN_FIELDS: Mapping[str, Callable[[str], Any]] = {
    "task": str,
    "data_dir": str,
    "rounds": int,
    "seed": int,
    "partition": str,
    "alpha": float,
    "samples_per_round": int,
    "test_samples": int,
    "batch_size": int,
    "local_epochs": int,
    "learning_rate": float,
    "aggregator": str,
    "encoding": str,
    "patience": int,
    "target_accuracy": float,
    "quorum": float,
    "grace_seconds": parse_duration,
    "round_timeout_seconds": parse_duration,
}
"""Of a run's spec; what is not here has the task's default, and the command line for it."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of everything that the page asks for."""

    peers: list[str] = []
    """Names; none: all."""
    fields: dict[str, str] = {}
    """As typed; an empty one is not given."""


def read(body: bytes) -> Request:
    """InvalidInputError, in one line, for what is no such request."""
    try:
        return msgspec.json.decode(body, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"not a request of this page: {error}") from None


def run_spec(fields: Mapping[str, str]) -> RunSpec:
    """A new run's; `shards` is left to whoever knows the network."""
    given = {name: _convert(name, text, RUN_FIELDS) for name, text in _given(fields)}
    task = given.pop("task", "")
    if not task:
        raise InvalidInputError("task: which one?")
    if (folder := given.get("data_dir", "")) and not folder.startswith("/"):
        raise InvalidInputError(f"data_dir {folder!r}: must be absolute, it is looked up on each peer's host")
    return make_spec(task, run_id=secrets.token_hex(16), **given)


def mixing_update(fields: Mapping[str, str]) -> mixing_pb2.UpdateMixingRequest:
    """What changes; the daemon checks the values."""
    given = {name: _convert(name, text, _MIXING) for name, text in _given(fields)}
    if not given:
        raise InvalidInputError("nothing is changed")
    try:
        return mixing_pb2.UpdateMixingRequest(**given)
    except ValueError as error:  # a number that does not fit its field
        raise InvalidInputError(f"mixing: {error}") from None


def _given(fields: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text.strip()) for name, text in fields.items() if text.strip()]


def _convert(name: str, text: str, known: Mapping[str, Callable[[str], Any]]) -> Any:
    if name not in known:
        raise InvalidInputError(f"{name}: no such field; allowed: {', '.join(known)}")
    try:
        return known[name](text)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from None
    except ValueError:
        kind = "a whole number" if known[name] is int else "a number"
        raise InvalidInputError(f"{name}: {text!r} is not {kind}") from None


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise InvalidInputError(f"{text!r} is neither on nor off")
    return text == "on"


def _reader(field: Any) -> Callable[[str], Any]:
    if field.name.endswith(SECONDS):
        return parse_duration
    kinds: dict[int, Callable[[str], Any]] = {
        field.CPPTYPE_STRING: str,
        field.CPPTYPE_BOOL: _switch,
        field.CPPTYPE_UINT32: int,
        field.CPPTYPE_DOUBLE: float,
    }
    return kinds[field.cpp_type]


_MIXING = {field.name: _reader(field) for field in mixing_pb2.UpdateMixingRequest.DESCRIPTOR.fields}


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The peers that a request is for, in the order in which they are known."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInputError(f"no such peer: {unknown[0]!r}; known: {', '.join(known)}")
    return [name for name in known if not names or name in names]
