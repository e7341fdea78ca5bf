"""What is compared: strategies, presets, and strategies with other parameters, by names that say it all.

exponential            the strategy, everything else as configured by default
strong                 a preset
exponential-200ms      exponential, timed, pool, outbox: mean delay, interval, interval, interval
threshold-32           packets of a batch
exponential-200ms-send20-loop2-drop0    rates, packets per second
direct                 no mix nodes at all
"""

from __future__ import annotations

import re
from typing import Any, get_args

from ctl.text import parse_duration
from peerd.config import MixingConfig, StrategyName, convert
from peerd.errors import InvalidInputError
from peerd.presets import PRESETS, preset_fields

PLAIN = ("none", "threshold", "timed", "pool", "outbox", "exponential")
QUICK = (*PLAIN, *PRESETS)
FULL = (
    "direct", "none",
    "threshold", "threshold-16", "threshold-32",
    "timed", "timed-300ms", "timed-1s",
    "pool", "pool-300ms", "pool-1s",
    "outbox", "outbox-5ms", "outbox-10ms",
    "exponential", "exponential-200ms", "exponential-500ms",
    "exponential-200ms-send20", "exponential-500ms-loop5-drop5",
    *PRESETS,
)  # fmt: skip

_PARAMETER = {
    "exponential": "mean_delay_seconds",
    "timed": "timed_interval_seconds",
    "pool": "pool_interval_seconds",
    "outbox": "outbox_interval_seconds",
    "threshold": "threshold_size",
}
_RATE = re.compile(r"(send|loop|drop)([0-9]+(?:\.[0-9]+)?)")


def make_row(name: str, hops: int) -> MixingConfig:
    """The configuration of that name. InvalidInputError, one line, for a name that says nothing."""
    first, *rest = name.split("-")
    fields: dict[str, Any] = {"hops": hops}
    if first in PRESETS:
        fields |= preset_fields(first)
    elif first == "direct":
        fields["direct"] = True
    elif first in get_args(StrategyName):
        fields["strategy"] = first
    else:
        known = ", ".join((*PLAIN, "direct", *PRESETS))
        raise InvalidInputError(f"--strategies: {name!r} begins with none of: {known}")
    for part in rest:
        fields |= _changed(name, first, part)
    if "outbox_interval_seconds" in fields:
        fields["outbox_jitter_seconds"] = fields["outbox_interval_seconds"] / 2.0
    return convert(fields, MixingConfig, f"--strategies: {name}")


def _changed(name: str, first: str, part: str) -> dict[str, Any]:
    if rate := _RATE.fullmatch(part):
        return {f"{rate[1]}_rate_per_second": float(rate[2])}
    field = _PARAMETER.get(first)
    try:
        if field == "threshold_size":
            return {field: int(part)}
        if field is not None:
            return {field: parse_duration(part)}
    except (InvalidInputError, ValueError):
        pass
    raise InvalidInputError(
        f"--strategies: {name!r}: {part!r} is no parameter of {first}; as in exponential-200ms-send20, "
        "threshold-32, timed-300ms, pool-1s, outbox-5ms"
    )


def split_names(text: str) -> tuple[str, ...]:
    """Of a comma-separated list, each once. InvalidInputError for an empty one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InvalidInputError("--strategies: at least one name, as in none,exponential,strong")
    return names
