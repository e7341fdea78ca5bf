"""Hypothesis strategies for values that keys of the configuration may have."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from peerd.config import PeerdConfig
from peerd.errors import InvalidInputError
from peerd.settings import Key, keys, merged
from peerd.validation import check

TEXTS = {
    "link.listen": ["127.0.0.1:9101", "[::1]:0"],
    "control.listen": ["", "127.0.0.1:9102"],
    "metrics.listen": ["", "127.0.0.1:0"],
    "enrolment.listen": ["", "127.0.0.1:9103"],
    "membership.advertise": ["", "192.0.2.1:9101"],
    "training.task_path": ["", "/srv/tasks"],
    "logging.file": ["", "/nowhere/at/all.log"],
}


def value_of(key: Key) -> st.SearchStrategy[Any]:
    """One that `key` may have by itself."""
    if key.name == "membership.dial_allow":
        return st.lists(st.sampled_from(["192.0.2.0/24", "10.0.0.1", "2001:db8::/32"]), max_size=2)
    if key.name == "metrics.page_hosts":
        return st.lists(st.sampled_from(["alice.example", "peer_1", "10.0.0.1"]), max_size=2)
    match msgspec.inspect.type_info(key.kind):
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case msgspec.inspect.FloatType() as number:
            low = number.ge if number.ge is not None else number.gt
            return st.floats(low, 1e9 if number.le is None else number.le, exclude_min=number.ge is None)
        case msgspec.inspect.VarTupleType():
            return st.lists(st.sampled_from(["digits-cnn", "my:task", 'q"uote']), max_size=3)
    return st.sampled_from(TEXTS.get(key.name, ["", "some text", 'ümläut \'n "quotes"']))


def assignments(names: list[str] | None = None, size: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    """Some keys, each with a value that it may have by itself; together they may break a rule."""
    among = list(keys()) if names is None else names
    return st.lists(st.sampled_from(among), unique=True, max_size=size).flatmap(
        lambda chosen: st.fixed_dictionaries({name: value_of(keys()[name]) for name in chosen})
    )


def configs() -> st.SearchStrategy[PeerdConfig]:
    """Good ones."""

    def good(config: PeerdConfig) -> bool:
        try:
            check(config)
        except InvalidInputError:
            return False
        return True

    return assignments().map(lambda values: merged(PeerdConfig(), values)).filter(good)
