"""What the page's lists offer: the values that the command line takes."""

from __future__ import annotations

from typing import Any, get_args

from ctl.choices import PRESET, STRATEGY
from ctl.defaults import NEEDS_DATA
from peerd.presets import PRESETS
from peerd.types import SHIPPED_TASKS, AggregatorName, EncodingName, PartitionName


def choices() -> dict[str, Any]:
    return {
        "task": list(SHIPPED_TASKS),
        "needs_data": sorted(NEEDS_DATA),
        "partition": list(get_args(PartitionName)),
        "aggregator": list(get_args(AggregatorName)),
        "encoding": list(get_args(EncodingName)),
        "strategy": list(STRATEGY.choices),
        "preset": list(PRESET.choices),
        "presets": {name: dict(fields) for name, fields in PRESETS.items()},
    }
