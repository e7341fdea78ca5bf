"""Named sets of mixing parameters, from quick to strong. What each costs and gives is measured by
`peerctl experiment attack` and stands in the README.

A preset sets every field that decides about delay and cover; what it does not name (hops, limits,
parameters of other strategies) stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from peerd.errors import InvalidInputError

PresetName = Literal["fast", "balanced", "strong"]

PRESETS: Mapping[PresetName, Mapping[str, Any]] = {
    # Short delays, thin cover, own messages leave at once: hides the path, not the moment of sending.
    "fast": {
        "strategy": "exponential",
        "direct": False,
        "mean_delay_seconds": 0.02,
        "send_rate_per_second": 0.0,
        "loop_rate_per_second": 0.2,
        "drop_rate_per_second": 0.2,
        "cover_budget_bytes_per_second": 0.0,
    },
    # Shaped sending at a rate that a few peers and a small model live with.
    "balanced": {
        "strategy": "exponential",
        "direct": False,
        "mean_delay_seconds": 0.1,
        "send_rate_per_second": 20.0,
        "loop_rate_per_second": 1.0,
        "drop_rate_per_second": 0.0,
        "cover_budget_bytes_per_second": 0.0,
    },
    # Long delays against the same traffic: many packets of many senders in every mix node at any time.
    "strong": {
        "strategy": "exponential",
        "direct": False,
        "mean_delay_seconds": 0.5,
        "send_rate_per_second": 20.0,
        "loop_rate_per_second": 2.0,
        "drop_rate_per_second": 0.0,
        "cover_budget_bytes_per_second": 0.0,
    },
}


def preset_fields(name: str) -> dict[str, Any]:
    """The MixingConfig fields of a preset; none for an empty name. InvalidInputError for an unknown one."""
    if not name:
        return {}
    for known, fields in PRESETS.items():
        if known == name:
            return dict(fields)
    raise InvalidInputError(f"preset: no such preset {name!r}; allowed: {', '.join(PRESETS)}")
