"""Which strategy a configuration asks for."""

from __future__ import annotations

import random
from typing import assert_never

from peerd.config import MixingConfig
from peerd.mix.exponential import Exponential
from peerd.mix.immediate import Immediate
from peerd.mix.outbox import Outbox
from peerd.mix.pool import Pool
from peerd.mix.port import Strategy
from peerd.mix.threshold import Threshold
from peerd.mix.timed import Timed


def make_strategy(config: MixingConfig, rng: random.Random, now: float) -> Strategy:
    """A fresh, empty strategy; `rng` must be a CSPRNG in production."""
    match config.strategy:
        case "exponential":
            return Exponential(config.queue_limit, config.mean_delay_seconds)
        case "outbox":
            return Outbox(
                config.outbox_size,
                config.outbox_interval_seconds,
                config.outbox_jitter_seconds,
                config.queue_limit,
                rng,
                now,
            )
        case "threshold":
            return Threshold(
                config.threshold_size, config.threshold_patience_seconds, config.queue_limit, rng
            )
        case "timed":
            return Timed(config.timed_interval_seconds, config.queue_limit, rng, now)
        case "pool":
            return Pool(
                config.pool_interval_seconds,
                config.pool_minimum,
                config.pool_rate,
                config.queue_limit,
                rng,
                now,
            )
        case "none":
            return Immediate(config.queue_limit)
        case _:
            assert_never(config.strategy)
