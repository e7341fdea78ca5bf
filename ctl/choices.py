"""Click types and callbacks of options that several commands have: errors and completion name the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click

from peerd.config import StrategyName
from peerd.errors import InvalidInputError
from peerd.presets import PRESETS
from peerd.types import (
    AggregatorName,
    DisseminationName,
    EncodingName,
    EvaluationName,
    PartitionName,
    ScheduleName,
    StaleRule,
)

STRATEGY = click.Choice(get_args(StrategyName))
PRESET = click.Choice(list(PRESETS))
PARTITION = click.Choice(get_args(PartitionName))
SCHEDULE = click.Choice(get_args(ScheduleName))
EVALUATION = click.Choice(get_args(EvaluationName))
STALE = click.Choice(get_args(StaleRule))
AGGREGATOR = click.Choice(get_args(AggregatorName))
DISSEMINATION = click.Choice(get_args(DisseminationName))
ENCODING = click.Choice(get_args(EncodingName))
HOPS = click.IntRange(min=1)
ROUND = click.IntRange(min=1, max=1_000_000)
"""As many as a run has at most."""


def named_values(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    """A callback for `--option NAME=VALUE`, given any number of times; what the names mean, others know."""
    values = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", context, parameter)
        values[name.strip().replace("-", "_")] = value.strip()
    return values


def split_names(option: str, text: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Of a list with commas, each once, in the order of `allowed`. InvalidInputError for one that is none of
    them, and for an empty list."""
    given = [name.strip() for name in text.split(",") if name.strip()]
    unknown = sorted(set(given) - set(allowed))
    if unknown or not given:
        raise InvalidInputError(
            f"{option} {text!r}: {', '.join(unknown) or 'nothing'}; allowed: {', '.join(allowed)}"
        )
    return tuple(name for name in allowed if name in given)
