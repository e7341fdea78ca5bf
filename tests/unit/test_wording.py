"""Errors tell what is allowed in words: no key of ours shows a regular expression."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from peerd.config import NetworkConfig, PeerdConfig, convert, loads
from peerd.errors import InvalidInputError
from peerd.settings import keys, value_of
from peerd.types import RunSpec

Word = Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="small letters")]


class Inner(msgspec.Struct):
    many: tuple[Word, ...] = ()


class Outer(msgspec.Struct):
    one: Word = "a"
    mapped: dict[Word, Inner] = {}
    choice: Literal["x", "y"] = "x"
    bare: Annotated[str, msgspec.Meta(pattern="^z$")] = "z"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"one": "A"}, "f: one: not of the form that it must have; allowed: small letters"),
        (
            {"mapped": {"a": {"many": ["b", "C"]}}},
            "f: mapped[...].many[1]: not of the form that it must have; allowed: small letters",
        ),
        ({"mapped": {"A": {}}}, "f: mapped: not of the form that it must have; allowed: small letters"),
        ({"choice": "z"}, "f: choice: Invalid enum value 'z'; allowed: x, y"),
        ({"one": 3}, "f: one: Expected `str`, got `int`"),
        ({"bare": "a"}, "f: bare: not of the form that it must have; allowed: text"),
    ],
)
def test_wherever_it_is_the_right_thing_is_said_to_be_allowed(value, says):
    with pytest.raises(InvalidInputError) as caught:
        convert(value, Outer, "f")
    assert str(caught.value) == says


def patterns(kind):
    """Where a struct has texts of a certain form, and whether they say of which."""
    for field in msgspec.inspect.type_info(kind).fields:
        pending = [field.type]
        while pending:
            info = pending.pop()
            bare = info.type if isinstance(info, msgspec.inspect.Metadata) else info
            if getattr(bare, "pattern", None):
                told = isinstance(info, msgspec.inspect.Metadata) and "description" in info.extra_json_schema
                yield f"{kind.__name__}.{field.name}", told
            pending += [inner for name in ("item_type", "key_type", "value_type")
                        if (inner := getattr(bare, name, None)) is not None]  # fmt: skip


def test_all_that_have_a_form_say_it():
    sections = [type(getattr(PeerdConfig(), name)) for name in PeerdConfig.__struct_fields__]
    structs = [kind for kind in sections if issubclass(kind, msgspec.Struct)]
    found = [one for kind in (*structs, NetworkConfig, RunSpec) for one in patterns(kind)]
    assert len(found) >= 7
    assert [where for where, told in found if not told] == []


def test_no_key_shows_a_regular_expression():
    for key in keys().values():
        assert not set("^\\") & set(key.allowed)
        try:
            value_of(key, "\0 no/such ^ value")
        except InvalidInputError as error:
            assert "regex" not in str(error)
    with pytest.raises(InvalidInputError, match=r"^f: logging\.file: not of the form .*an absolute path"):
        loads('[logging]\nfile = "a.log"', "f")
