"""KEY=VALUE as people write it, and what the shell completes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from anyconfig import assignments as good_values
from hypothesis import given
from hypothesis import strategies as st

from ctl.values import assignment, assignments, completions, from_json, toml
from peerd.errors import InvalidInputError
from peerd.presets import PRESETS
from peerd.settings import keys


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("logging.level=debug", "logging.level", "debug"),
        ("mixing.hops=2", "mixing.hops", 2),
        (" mixing.hops = 2 ", "mixing.hops", 2),
        ("mixing.mean_delay=80ms", "mixing.mean_delay_seconds", 0.08),
        ("mixing.mean_delay_seconds=0.08", "mixing.mean_delay_seconds", 0.08),
        ("membership.dead_after=2m", "membership.dead_after_seconds", 120.0),
        ("mixing.loop_rate=3", "mixing.loop_rate_per_second", 3.0),
        ("mixing.direct=off", "mixing.direct", False),
        ("metrics.neighbour_labels=Yes", "metrics.neighbour_labels", True),
        ("logging.max_bytes=10MB", "logging.max_bytes", 10_000_000),
        ("logging.max_bytes=1.5 MiB", "logging.max_bytes", 3 << 19),
        ("mixing.cover_budget=250kB", "mixing.cover_budget_bytes_per_second", 250_000.0),
        ("training.tasks=digits-cnn, my:task", "training.tasks", ["digits-cnn", "my:task"]),
        ('training.tasks=["a,b"]', "training.tasks", ["a,b"]),
        ("training.tasks=", "training.tasks", []),
        ("training.data_dir=/srv/a=b", "training.data_dir", "/srv/a=b"),
        ("training.data_dir='with blank '", "training.data_dir", "with blank "),
        ("training.data_dir=", "training.data_dir", ""),
        ("mixing.preset=fast", "mixing.preset", "fast"),
        ("tomorrow.key=3", "tomorrow.key", 3),
        ("tomorrow.key=so be it", "tomorrow.key", "so be it"),
    ],
)
def test_a_value_is_read_as_its_key_wants_it(text: str, key: str, value: object) -> None:
    assert assignment(text) == (key, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mixing.hops", "'mixing.hops' is not KEY=VALUE, such as logging.level=debug"),
        ("=2", "is not KEY=VALUE"),
        ("hops=2", "hops: no such key; did you mean mixing.hops"),
        ("mixing.hops=two", "mixing.hops: Expected `int`, got `str`; allowed: a whole number from 1 to 16"),
        ("mixing.hops=2.5", "mixing.hops: Expected `int`"),
        ("mixing.hops=99", "mixing.hops: Expected `int` <= 16"),
        ("mixing.mean_delay=soon", "mixing.mean_delay_seconds: 'soon' is not a duration such as 50ms"),
        ("mixing.direct=maybe", "mixing.direct: Expected `bool`, got `str`; allowed: true, false"),
        (
            "logging.level=loud",
            "logging.level: Invalid enum value 'loud'; allowed: debug, info, warning, error",
        ),
        ("logging.max_bytes=10XB", "logging.max_bytes: Expected `int`"),
        ("mixing.pool_rate=nan", "mixing.pool_rate: "),
        ("mixing.preset=max", "no such preset 'max'"),
    ],
)
def test_what_is_none_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        assignment(text)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_several_and_a_preset_among_them() -> None:
    found = assignments(("mixing.preset=strong", "mixing.loop_rate=9", "logging.level=debug"))
    strong = {f"mixing.{key}": value for key, value in PRESETS["strong"].items()}
    assert found == strong | {"mixing.loop_rate_per_second": 9.0, "logging.level": "debug"}
    with pytest.raises(InvalidInputError, match=r"mixing\.hops: given twice"):
        assignments(("mixing.hops=2", "mixing.hops=3"))


@given(good_values())
def test_what_is_shown_as_toml_is_read_back(values: dict[str, Any]) -> None:
    for name, value in values.items():
        assert assignment(f"{name}={toml(value)}") == (name, value)
        assert tomllib.loads(f"value = {toml(value)}")["value"] == value


@given(st.text(), st.sampled_from([*keys(), "mixing.preset", "x.y", "x"]))
def test_whatever_is_typed_is_a_value_or_one_line(text: str, name: str) -> None:
    for line in (text, f"{name}={text}"):
        try:
            assignment(line)
        except InvalidInputError as error:
            assert "\n" not in " ".join(str(error).splitlines())


def test_what_a_shell_completes() -> None:
    assert completions("mixing.ho") == ["mixing.hops="]
    assert completions("link.li") == []  # needs a restart
    assert "mixing.preset=" in completions("mixing.p")
    assert completions("logging.level=") == [
        f"logging.level={one}" for one in ("debug", "info", "warning", "error")
    ]
    assert completions("mixing.direct=t") == ["mixing.direct=true"]
    assert completions("mixing.hops=") == completions("training.data_dir=") == completions("no.key=") == []


def test_what_is_no_json_is_shown_as_it_came() -> None:
    assert from_json('["a"]') == ["a"]
    assert from_json("[") == "["
