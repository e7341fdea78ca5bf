"""Which strategy a configuration asks for."""

from __future__ import annotations

import random
from typing import assert_never

from peerd.config import MixingConfig
from peerd.mix.exponential import Exponential
from peerd.mix.outbox import Outbox
from peerd.mix.port import Strategy


def make_strategy(config: MixingConfig, rng: random.Random, now: float) -> Strategy:
    """A fresh, empty strategy; `rng` must be a CSPRNG in production."""
    match config.strategy:
        case "exponential":
            return Exponential(config.queue_limit)
        case "outbox":
            return Outbox(
                config.outbox_size,
                config.outbox_interval_seconds,
                config.outbox_jitter_seconds,
                config.queue_limit,
                rng,
                now,
            )
        case _:
            assert_never(config.strategy)
