"""Named sets of parameters: of mixing, from quick to strong, and of each shipped task.

What each set of mixing parameters costs and gives is measured by
`peerctl experiment attack` and stands in the README.

A preset sets every field that decides about delay and cover; what it does not name (hops, limits,
parameters of other strategies) stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

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


class TaskDefaults(TypedDict):
    """Values for the fields of `RunSpec` with the same names."""

    samples_per_round: int
    test_samples: int
    batch_size: int
    local_epochs: int
    learning_rate: float


TASK_DEFAULTS: Mapping[str, TaskDefaults] = {
    "digits-cnn": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 5,
        "learning_rate": 3e-3,
    },
    "mnist-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "digits-mlp": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 5,
        "learning_rate": 3e-3,
    },
    "fashion-mnist-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "cifar10-cnn": {
        "samples_per_round": 6000,
        "test_samples": 1000,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 3e-3,
    },
    "synthetic": {
        "samples_per_round": 0,
        "test_samples": 0,
        "batch_size": 32,
        "local_epochs": 1,
        "learning_rate": 1e-3,
    },
}
"""For six peers and five rounds; measured in peerd/training/README.md. A task of a host's own starts from the
defaults of `RunSpec`."""
