"""Metric families from plain values."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

from peerd.observe.tally import Histogram


def counter(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """`label` empty: the one value stands under an empty key."""
    family = CounterMetricFamily(name, text, labels=(label,) if label else ())
    for key, value in values.items():
        family.add_metric((key,) if label else (), float(value))
    return family


def gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,) if label else ())
    for key, value in values.items():
        family.add_metric((key,) if label else (), float(value))
    return family


def one(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return gauge(name, text, "", {"": value})


def total(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter without labels."""
    return counter(name, text, "", {"": value})


def histogram(name: str, text: str, values: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    family.add_metric((), values.cumulative(), values.total)
    return family


def info(name: str, text: str, **labels: str) -> InfoMetricFamily:
    return InfoMetricFamily(name, text, value=labels)
