"""Click types of options that several commands have: errors and completion name the values."""

from __future__ import annotations

from typing import get_args

import click

from peerd.config import StrategyName
from peerd.presets import PRESETS
from peerd.types import AggregatorName, EncodingName, PartitionName, StaleRule

STRATEGY = click.Choice(get_args(StrategyName))
PRESET = click.Choice(list(PRESETS))
PARTITION = click.Choice(get_args(PartitionName))
STALE = click.Choice(get_args(StaleRule))
AGGREGATOR = click.Choice(get_args(AggregatorName))
ENCODING = click.Choice(get_args(EncodingName))
HOPS = click.IntRange(min=1)
