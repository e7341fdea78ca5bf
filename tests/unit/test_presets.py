from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from peerd.config import MixingConfig, NetworkConfig, convert
from peerd.errors import InvalidInputError
from peerd.mix import cover_rates
from peerd.presets import PRESETS, PresetName, preset_fields

FIELDS = {field.name for field in msgspec.structs.fields(MixingConfig)}


def test_every_name_has_a_preset() -> None:
    assert set(PRESETS) == set(get_args(PresetName))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_valid_configuration_that_mixes(name: str) -> None:
    fields = preset_fields(name)
    assert set(fields) <= FIELDS
    mixing = convert(fields, MixingConfig, "preset")
    assert msgspec.to_builtins(mixing) == msgspec.to_builtins(MixingConfig()) | fields
    assert not mixing.direct
    assert mixing.strategy not in ("none",)
    assert mixing.max_delay_seconds >= 10 * mixing.mean_delay_seconds
    assert mixing.loop_rate_per_second > 0.0, "without loops nobody notices a blending attack"
    assert mixing.hops <= NetworkConfig(name="net").max_hops


def test_all_set_the_same_fields_so_that_one_replaces_another() -> None:
    keys = [set(fields) for fields in PRESETS.values()]
    assert all(key == keys[0] for key in keys)
    for first in PRESETS:
        for second in PRESETS:
            after = preset_fields(first) | preset_fields(second)
            assert after == PRESETS[second]


def test_a_preset_takes_back_what_would_defeat_it() -> None:
    for name in PRESETS:
        spoilt = {"strategy": "none", "direct": True, "cover_budget_bytes_per_second": 1.0}
        mixing = convert(spoilt | preset_fields(name), MixingConfig, "mixing")
        assert mixing.strategy == "exponential"
        assert cover_rates(mixing, 10_000).loop == mixing.loop_rate_per_second


def test_what_a_preset_does_not_name_stays() -> None:
    for fields in PRESETS.values():
        assert not {"hops", "queue_limit", "max_delay_seconds", "pool_rate"} & set(fields)


def test_the_default_is_none_of_them() -> None:
    default = msgspec.to_builtins(MixingConfig())
    for fields in PRESETS.values():
        assert any(default[key] != value for key, value in fields.items())
    assert preset_fields("") == {}


def test_from_fast_to_strong_delay_and_cover_grow() -> None:
    fast, balanced, strong = (PRESETS[name] for name in ("fast", "balanced", "strong"))
    for key in ("mean_delay_seconds", "loop_rate_per_second"):
        assert fast[key] < balanced[key] < strong[key]
    assert fast["send_rate_per_second"] == 0.0 < balanced["send_rate_per_second"]


@pytest.mark.parametrize("name", ["max", "Fast", " fast", "fast\n", "0"])
def test_an_unknown_one_is_refused_with_the_names_of_all(name: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        preset_fields(name)
    assert str(raised.value) == f"preset: no such preset {name!r}; allowed: fast, balanced, strong"
    assert "\n" not in str(raised.value)


def test_nobody_can_change_a_preset_by_the_fields_that_it_gives() -> None:
    preset_fields("fast")["mean_delay_seconds"] = 99.0
    assert PRESETS["fast"]["mean_delay_seconds"] == 0.02
