"""Prometheus metrics of one peer: a registry of its own, filled at scrape from the tally and from
what the node says of itself (`Source`). Names are `peerd_*` with base units; every value of every
label exists from the start, so that rates work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from peerd.observe.resources import StageClock
from peerd.observe.tally import Histogram, Tally

STAGES = ("idle", "starting", "training", "exchanging", "evaluating", "paused", "done")


class Neighbour(NamedTuple):
    """One link, for the opt-in labels of `metrics.neighbour_labels`."""

    name: str
    up: bool
    rtt_seconds: float


class Sample(NamedTuple):
    """What the node knows at the moment of a scrape."""

    version: str
    strategy: str
    hops: int
    bytes_sent: int
    bytes_received: int
    links_out: int
    links_in: int
    peers: dict[str, int]
    """Number of peers by state."""
    queues: dict[str, int]
    """Depth by queue: inbox, mix, link, send, in_flight."""
    round: int
    stage: str
    accuracy_local: float | None
    accuracy_aggregated: float | None
    train_loss: float | None
    daemon_cpu_seconds: float
    daemon_rss_bytes: int
    trainer_cpu_seconds: float
    trainer_rss_bytes: int
    trainer_up: bool
    trainer_restarts: int
    rounds_closed: dict[str, int]
    """Closed rounds of the present run by what closed them: complete, grace, timeout."""
    neighbours: tuple[Neighbour, ...] = ()


class Source(Protocol):
    def sample(self) -> Sample:
        """A fresh sample; called at each scrape."""


class Metrics(Collector):
    """Collects `Tally`, `StageClock` and the node's `Sample`."""

    def __init__(self, tally: Tally, source: Source) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.tally = tally
        self._source = source
        self.stages = StageClock()
        self.trainer_stages: dict[str, float] = {}
        self.round_seconds = Histogram()
        self.exchange_seconds = Histogram()
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is sampled before the node is up

    def collect(self) -> Iterator[Metric]:
        sample = self._source.sample()
        yield from self._traffic(sample)
        yield from self._delivery(sample)
        yield from self._learning(sample)
        yield from self._resources(sample)

    def _traffic(self, sample: Sample) -> Iterator[Metric]:
        tally = self.tally
        yield _counter(
            "peerd_packets_sent", "Packets that departed, by what they are to this peer.",
            "kind", tally.sent_packets,
        )  # fmt: skip
        yield _counter("peerd_packets_received", "Packets that arrived on links.", "", tally.received)
        yield _counter(
            "peerd_dropped", "Packets, cells, messages and fragments discarded, by reason.",
            "reason", tally.drops,
        )  # fmt: skip
        yield _counter(
            "peerd_link_bytes", "Bytes on links, cells only (TLS framing excluded).",
            "direction", {"sent": sample.bytes_sent, "received": sample.bytes_received},
        )  # fmt: skip
        yield _gauge(
            "peerd_links_up", "Links that are up.",
            "direction", {"out": sample.links_out, "in": sample.links_in},
        )  # fmt: skip
        yield _gauge("peerd_peers", "Other enrolled peers, by state.", "state", sample.peers)
        yield _gauge("peerd_queue_depth", "What waits, by queue.", "queue", sample.queues)
        if sample.neighbours:
            up = {n.name: float(n.up) for n in sample.neighbours}
            yield _gauge("peerd_neighbour_up", "Whether the link is up (opt-in).", "neighbour", up)
            rtt = {n.name: n.rtt_seconds for n in sample.neighbours}
            yield _gauge("peerd_neighbour_rtt_seconds", "Round trip on the link (opt-in).", "neighbour", rtt)

    def _delivery(self, sample: Sample) -> Iterator[Metric]:
        tally = self.tally
        yield _counter("peerd_messages_delivered", "Messages received for us.", "", tally.delivered)
        yield _counter("peerd_messages_acked", "Own messages acknowledged.", "", tally.acked)
        yield _counter("peerd_messages_resent", "Further attempts of messages.", "", tally.resent)
        yield _counter("peerd_messages_gave_up", "Own messages given up.", "", tally.gave_up)
        unacknowledged = sample.queues.get("in_flight", 0)
        yield _gauge("peerd_messages_unacknowledged", "Messages in flight.", "", unacknowledged)
        yield _histogram("peerd_rtt_seconds", "Departure to acknowledgement.", tally.rtt)
        yield _histogram("peerd_loop_rtt_seconds", "Round trip of loop cover.", tally.loop_rtt)

    def _learning(self, sample: Sample) -> Iterator[Metric]:
        yield _gauge("peerd_round", "Current round of the run; 0 without one.", "", sample.round)
        stage = {name: float(name == sample.stage) for name in STAGES}
        yield _gauge("peerd_stage", "1 for the stage that the peer is in.", "stage", stage)
        yield _counter(
            "peerd_rounds_closed", "Closed rounds, by what closed them.", "by", sample.rounds_closed
        )
        yield _histogram("peerd_round_seconds", "Length of rounds.", self.round_seconds)
        yield _histogram("peerd_exchange_seconds", "Length of exchanges.", self.exchange_seconds)
        accuracy = {
            model: value
            for model, value in (
                ("local", sample.accuracy_local),
                ("aggregated", sample.accuracy_aggregated),
            )
            if value is not None
        }
        yield _gauge("peerd_accuracy_ratio", "On the shared test set.", "model", accuracy)
        if sample.train_loss is not None:
            yield _gauge("peerd_train_loss", "Mean loss of the last training.", "", sample.train_loss)

    def _resources(self, sample: Sample) -> Iterator[Metric]:
        stages = CounterMetricFamily(
            "peerd_stage_cpu_seconds", "CPU seconds by stage.", labels=("process", "stage")
        )
        daemon = dict.fromkeys(STAGES, 0.0) | self.stages.spent()
        trainer = dict.fromkeys(STAGES, 0.0) | self.trainer_stages
        for process, spent in (("daemon", daemon), ("trainer", trainer)):
            for name, seconds in spent.items():
                stages.add_metric((process, name), seconds)
        yield stages
        yield _counter(
            "peerd_process_cpu_seconds", "CPU seconds by process.", "process",
            {"daemon": sample.daemon_cpu_seconds, "trainer": sample.trainer_cpu_seconds},
        )  # fmt: skip
        yield _gauge(
            "peerd_process_resident_memory_bytes", "Resident memory by process.", "process",
            {"daemon": sample.daemon_rss_bytes, "trainer": sample.trainer_rss_bytes},
        )  # fmt: skip
        yield _gauge("peerd_trainer_up", "Whether the trainer process lives.", "", sample.trainer_up)
        yield _counter("peerd_trainer_restarts", "Trainer deaths in this run.", "", sample.trainer_restarts)
        info = InfoMetricFamily("peerd_build", "Version of the daemon.")
        info.add_metric((), {"version": sample.version})
        yield info
        mixing = InfoMetricFamily("peerd_mixing", "The mixing in force.")
        mixing.add_metric((), {"strategy": sample.strategy, "hops": str(sample.hops)})
        yield mixing


def _counter(name: str, text: str, label: str, values: object) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,) if label else ())
    _fill(family, values)
    return family


def _gauge(name: str, text: str, label: str, values: object) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,) if label else ())
    _fill(family, values)
    return family


def _fill(family: CounterMetricFamily | GaugeMetricFamily, values: object) -> None:
    if isinstance(values, dict):
        for key, value in values.items():
            family.add_metric((str(key),), float(value))
    elif isinstance(values, int | float):
        family.add_metric((), float(values))
    else:
        raise TypeError(f"not a metric value: {values!r}")


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    family.add_metric((), histogram.cumulative(), histogram.total)
    return family
