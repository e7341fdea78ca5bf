from __future__ import annotations

import msgspec
import pytest
from anyconfig import assignments, configs
from hypothesis import given
from hypothesis import strategies as st

from peerd import settings
from peerd.config import PeerdConfig
from peerd.errors import InvalidInputError
from peerd.observe.redact import looks_secret
from peerd.presets import PRESETS
from peerd.settings import (
    OF_THE_HOST,
    at_runtime,
    differences,
    effect_of,
    expanded,
    find,
    flat,
    keys,
    merged,
    section_of,
    value_of,
)

NAMES = list(keys())


def test_every_key_of_the_configuration_is_there_in_its_order() -> None:
    assert flat(PeerdConfig()) == {name: key.default for name, key in keys().items()}
    assert {"state_dir", "mixing.hops", "training.tasks", "logging.max_bytes"} <= set(keys())
    assert next(iter(keys())) == "state_dir"


def test_no_key_holds_a_secret() -> None:
    assert [name for name in NAMES if looks_secret(name)] == []


def test_what_is_said_of_effects_is_said_of_keys_that_are_there() -> None:
    sections = {section_of(name) for name in NAMES}
    for told in settings._EFFECTS:
        assert told in keys() or told in sections


@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("mixing.hops", "now"),
        ("delivery.max_in_flight", "now"),
        ("logging.level", "now"),
        ("training.join", "now"),
        ("training.tasks", "next run"),
        ("membership.dead_after_seconds", "now"),
        ("membership.advertise", "restart"),
        ("link.listen", "restart"),
        ("link.queue_cells", "now"),
        ("relay.replay_capacity", "restart"),
        ("trace.file", "restart"),
        ("state_dir", "restart"),
        ("a.key_of_tomorrow", "restart"),
    ],
)
def test_from_when_on_a_change_holds(key: str, effect: str) -> None:
    assert effect_of(key) == effect


@given(configs(), configs())
def test_changes_are_parted_into_those_that_hold_and_those_that_wait(
    before: PeerdConfig, after: PeerdConfig
) -> None:
    running = at_runtime(before, after)
    done, left = differences(before, running), differences(running, after)
    assert all(one.effect != "restart" for one in done)
    assert all(one.effect == "restart" for one in left)
    assert sorted([*done, *left], key=lambda one: NAMES.index(one.key)) == differences(before, after)
    assert at_runtime(running, after) == running


@given(configs(), assignments())
def test_what_is_merged_is_set_and_nothing_else(before: PeerdConfig, values: dict[str, object]) -> None:
    after = merged(before, values)
    assert flat(after) == flat(before) | values
    assert {one.key for one in differences(before, after)} <= set(values)
    assert merged(after, flat(before)) == before


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mixing.hops", "mixing.hops"),
        ("mixing.mean_delay", "mixing.mean_delay_seconds"),
        ("mixing.loop_rate", "mixing.loop_rate_per_second"),
        ("mixing.cover_budget", "mixing.cover_budget_bytes_per_second"),
        ("logging.max", "logging.max_bytes"),
    ],
)
def test_a_key_is_found_without_its_unit(name: str, key: str) -> None:
    assert find(name).name == key


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mixing.hop", "mixing.hop: no such key; did you mean mixing.hops"),
        ("hops", "hops: no such key; did you mean mixing.hops"),
        ("zzz", "zzz: no such key; `peerctl config show` lists all keys"),
        ("", "no such key"),
    ],
)
def test_one_that_is_none_is_told_with_what_may_have_been_meant(name: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        find(name)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mixing.hops", 0, "mixing.hops: Expected `int` >= 1; allowed: a whole number from 1 to 16"),
        ("mixing.pool_rate", 0.0, "allowed: a number above 0.0 to 1.0"),
        ("mixing.strategy", "pol", "allowed: exponential, outbox, threshold, timed, pool, none"),
        ("mixing.direct", 1, "mixing.direct: Expected `bool`, got `int`; allowed: true, false"),
        ("training.tasks", "x", "allowed: a list of text"),
        (
            "logging.file",
            "x.log",
            "logging.file: not of the form that it must have; allowed: an absolute path, or nothing",
        ),
        ("metrics.page_hosts", ["a b"], "allowed: a list of text of letters, digits, '.', '_' and '-'"),
        ("link.queue_cells", 2**80, "link.queue_cells: "),
        ("mixing.mean_delay_seconds", None, "mixing.mean_delay_seconds: "),
        ("mixing.mean_delay_seconds", {"a": 1}, "mixing.mean_delay_seconds: "),
    ],
)
def test_a_wrong_value_is_one_line_with_key_and_what_is_allowed(name: str, value: object, says: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        value_of(keys()[name], value, "a.toml")
    assert str(raised.value).startswith(f"a.toml: {name}: ")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner))


@given(st.sampled_from(NAMES), ANYTHING)
def test_whatever_it_is_given_it_is_a_value_or_refused(name: str, value: object) -> None:
    try:
        found = value_of(keys()[name], value)
    except InvalidInputError:
        return
    assert flat(merged(PeerdConfig(), {name: found}))[name] == found
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_a_preset_comes_first_and_keys_go_over_it() -> None:
    values = {"mixing.preset": "strong", "mixing.loop_rate_per_second": 9.0}
    strong = {f"mixing.{key}": value for key, value in PRESETS["strong"].items()}
    assert expanded(values) == strong | {"mixing.loop_rate_per_second": 9.0}
    assert flat(merged(PeerdConfig(), values)).items() >= expanded(values).items()
    with pytest.raises(InvalidInputError, match="allowed: fast, balanced, strong"):
        expanded({"mixing.preset": "max"})


def test_an_unknown_key_is_not_merged() -> None:
    with pytest.raises(InvalidInputError, match=r"mixing\.hop: no such key"):
        merged(PeerdConfig(), {"mixing.hop": 3})


def test_every_text_of_a_hosts_own_is_guarded() -> None:
    """A new key that takes any text is a path, a module or an address until somebody says what it is."""
    assert set(NAMES) >= OF_THE_HOST
    texts = {name for name, key in keys().items() if "text" in key.allowed or "path" in key.allowed}
    assert texts == OF_THE_HOST
