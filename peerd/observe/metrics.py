"""Prometheus metrics of one peer: a registry of its own, filled at scrape from the tally and from
what the node says of itself (`Source`).

Names are `peerd_*` with base units. Every value of every label exists from the start, so that rates
work; only what was never measured (accuracy, loss, epsilon, entropy) is absent. No label names a peer, a path
or a packet, except the neighbours of links where the operator asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from peerd.config import StrategyName
from peerd.observe.resources import StageClock
from peerd.observe.tally import ENTROPY_BUCKETS, PEER_STATES, ROUND_BUCKETS, Histogram, Tally
from peerd.status import MixingMeasured, RoundResult
from peerd.types import DropReason

STAGES = ("idle", "starting", "listening", "training", "exchanging", "evaluating", "paused", "done")
ALARMS = ("direct", "tracing", "blending", "disk", "clock", "identity", "model")
QUEUES = ("inbox", "mix", "link", "send", "in_flight")
CLOSED_BY = ("complete", "grace", "timeout")


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
    """Of own paths: 0 in direct mode."""
    alarms: Mapping[str, bool]
    """Those of `ALARMS` that are known of; others are off."""
    mixing: MixingMeasured
    bytes_sent: int
    bytes_received: int
    links_out: int
    links_in: int
    peers: Mapping[str, int]
    """Number of peers by state."""
    queues: Mapping[str, int]
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
    neighbours: tuple[Neighbour, ...] = ()
    members: int = 0
    """Of the network, this one included."""
    peers_damped: int = 0
    gossip_sent: int = 0
    """Cells."""
    gossip_received: int = 0
    clock_skew_seconds: float | None = None
    """The largest, without its sign, against the wall clocks of the neighbours; None while unmeasured."""
    cohort: int = 0
    """Peers that contribute to the run now, this one included; 0 without a run."""
    listeners: int = 0
    rounds_skipped: int = 0
    """Of this run: jumped over, to catch up with the others."""
    epsilon: float | None = None
    """Spent in this run; None without noise."""
    draining: bool = False


class Source(Protocol):
    def sample(self) -> Sample:
        """A fresh sample; called at each scrape."""


class Metrics(Collector):
    """Collects `Tally`, the stages, and the node's `Sample`. One for each peer, no globals."""

    def __init__(self, tally: Tally, source: Source) -> None:
        self._tally = tally
        self._source = source
        self.stages = StageClock()
        """The daemon's CPU seconds; whoever sees the stages change calls `enter`."""
        self._trainer_stages: dict[str, float] = {}
        self._closed = dict.fromkeys(CLOSED_BY, 0)
        self._stale_fragments = 0
        self._round_seconds = Histogram(ROUND_BUCKETS)
        self._exchange_seconds = Histogram(ROUND_BUCKETS)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def trainer_spent(self, stage: str, cpu_seconds: float) -> None:
        """The trainer used that much CPU for a stage."""
        self._trainer_stages[stage] = self._trainer_stages.get(stage, 0.0) + max(cpu_seconds, 0.0)

    def round_measured(self, result: RoundResult) -> None:
        """A round is over."""
        self._closed[result.closed_by] = self._closed.get(result.closed_by, 0) + 1
        self._round_seconds.observe(result.round_seconds)
        self._exchange_seconds.observe(result.exchange_seconds)
        self._stale_fragments += result.stale_fragments

    def describe(self) -> Iterable[Metric]:
        return ()  # registering must not sample: the node is not up yet

    def collect(self) -> Iterator[Metric]:
        sample = self._source.sample()
        yield from self._traffic(sample)
        yield from self._links(sample)
        yield from self._membership(sample)
        yield from self._delivery(sample)
        yield from self._mixing(sample)
        yield from self._learning(sample)
        yield from self._resources(sample)
        yield _info("peerd_build", "The daemon.", version=sample.version)
        mixing = {"strategy": sample.strategy, "hops": str(sample.hops)}
        yield _info("peerd_mixing", "The mixing in force.", **mixing)

    def _traffic(self, sample: Sample) -> Iterator[Metric]:
        packets = CounterMetricFamily(
            "peerd_packets",
            "Packets: sent, by what they are to this peer; received on links, before they are "
            "looked at; delivered, those with a new message for this peer.",
            labels=("direction", "kind"),
        )
        for kind, count in self._tally.sent_packets.items():
            packets.add_metric(("sent", kind.value), count)
        packets.add_metric(("received", "any"), self._tally.received)
        packets.add_metric(("delivered", "any"), self._tally.delivered)
        yield packets
        yield _counter(
            "peerd_dropped",
            "Packets, cells, messages and fragments discarded, by reason.",
            "reason",
            {reason.value: count for reason, count in self._tally.drops.items()},
        )

    def _links(self, sample: Sample) -> Iterator[Metric]:
        sizes = {"sent": sample.bytes_sent, "received": sample.bytes_received}
        yield _counter("peerd_bytes", "Bytes of cells on links.", "direction", sizes)
        links = {"out": sample.links_out, "in": sample.links_in}
        yield _gauge("peerd_links", "Links that are up.", "direction", links)
        queues = dict.fromkeys(QUEUES, 0) | dict(sample.queues)
        yield _gauge("peerd_queue_depth", "Packets or messages that wait.", "queue", queues)
        if sample.neighbours:
            up = {neighbour.name: neighbour.up for neighbour in sample.neighbours}
            yield _gauge("peerd_neighbour_up", "1 while a link is up.", "neighbour", up)
            rtt = {neighbour.name: neighbour.rtt_seconds for neighbour in sample.neighbours}
            text = "Round trip of a link's keepalive."
            yield _gauge("peerd_neighbour_rtt_seconds", text, "neighbour", rtt)

    def _membership(self, sample: Sample) -> Iterator[Metric]:
        text = "Members of the network that are known here, this peer included."
        yield _gauge("peerd_members", text, "", {"": sample.members})
        peers = dict.fromkeys(PEER_STATES, 0) | dict(sample.peers)
        yield _gauge("peerd_peers", "Other members, by state.", "state", peers)
        text = "Peers that came into a state."
        yield _counter("peerd_peer_changes", text, "state", self._tally.peer_changes)
        text = "Peers that are held back, because they came and went too often."
        yield _gauge("peerd_peers_damped", text, "", {"": sample.peers_damped})
        cells = {"sent": sample.gossip_sent, "received": sample.gossip_received}
        yield _counter("peerd_gossip_cells", "Cells of gossip on links.", "direction", cells)
        records = CounterMetricFamily(
            "peerd_gossip_records",
            "Records that came by gossip: accepted, known already or older (stale), refused.",
            labels=("kind", "outcome"),
        )
        for kind_and_outcome, count in self._tally.gossip_records.items():
            records.add_metric(kind_and_outcome, count)
        yield records
        if sample.clock_skew_seconds is not None:
            text = "Largest difference to the wall clock of a neighbour, without its sign."
            yield _gauge("peerd_clock_skew_seconds", text, "", {"": sample.clock_skew_seconds})
        text = "1 while this peer is leaving."
        yield _gauge("peerd_draining", text, "", {"": sample.draining})

    def _delivery(self, sample: Sample) -> Iterator[Metric]:
        tally = self._tally
        yield _counter(
            "peerd_messages",
            "Own messages: acknowledged, given up; and further attempts (resent).",
            "outcome",
            {"acked": tally.acked, "resent": tally.resent, "gave_up": tally.gave_up},
        )
        text = "Own messages dropped unacknowledged, because their recipient is dead, left or revoked."
        dropped = {"": tally.drops[DropReason.PEER_DEAD]}
        yield _counter("peerd_messages_dropped_unacked", text, "", dropped)
        unacknowledged = sample.queues.get("in_flight", 0)
        text = "Own messages sent and not acknowledged yet."
        yield _gauge("peerd_messages_unacknowledged", text, "", {"": unacknowledged})
        yield _histogram("peerd_rtt_seconds", "Departure to acknowledgement.", tally.rtt)
        yield _histogram("peerd_loop_rtt_seconds", "Round trip of loop cover.", tally.loop_rtt)

    def _mixing(self, sample: Sample) -> Iterator[Metric]:
        measured, tally = sample.mixing, self._tally
        text = "Entropy of this mix node's departures by the strategy in force, moving average."
        seen = {sample.strategy: measured.entropy_bits} if measured.mixed else {}
        yield _gauge("peerd_entropy_bits", text, "strategy", seen)
        entropy = HistogramMetricFamily(
            "peerd_entropy_at_departure_bits", "Entropy of each packet that departed.", labels=("strategy",)
        )
        for strategy in get_args(StrategyName):
            histogram = tally.entropy.get(strategy) or Histogram(ENTROPY_BUCKETS)
            entropy.add_metric((strategy,), histogram.cumulative(), histogram.total)
        yield entropy
        rates = {
            "send": measured.send_rate_per_second,
            "loop": measured.loop_rate_per_second,
            "drop": measured.drop_rate_per_second,
        }
        text = "Poisson rates in force, after the budget: sending slots, loop and drop cover."
        yield _gauge("peerd_cover_rate_per_second", text, "slot", rates)
        text = "Cover that was due and not made, because packets of others waited."
        yield _counter("peerd_cover_forgone", text, "", {"": measured.cover_forgone})
        loops = {"returned": measured.loops.returned, "lost": measured.loops.lost}
        yield _counter("peerd_loops", "Loop cover that is settled.", "outcome", loops)
        text = (
            "1 while it lasts: sending without a mixnet, tracing every packet, loops that stay away, a full "
            "disk, a clock that differs from the others', an identity that is used twice."
        )
        alarms = dict.fromkeys(ALARMS, False) | dict(sample.alarms)
        yield _gauge("peerd_alarm", text, "alarm", alarms)
        yield _gauge("peerd_epoch", "Present epoch of the mix keys.", "", {"": measured.epoch.epoch})
        text = "Replay tags remembered, of all mix keys."
        yield _gauge("peerd_replay_tags", text, "", {"": measured.epoch.replay_tags})
        text = "Memory of the replay filters."
        yield _gauge("peerd_replay_filter_bytes", text, "", {"": measured.epoch.replay_bytes})
        text = "Upper bound of the probability that a fresh packet is refused as a replay."
        rate = measured.epoch.replay_false_positive_rate
        yield _gauge("peerd_replay_false_positive_ratio", text, "", {"": rate})
        text = "Fresh packets refused as replays, by all mix keys since the start: on average, at most."
        expected = measured.epoch.replay_expected_false_positives
        yield _counter("peerd_replay_false_positives_expected", text, "", {"": expected})

    def _learning(self, sample: Sample) -> Iterator[Metric]:
        yield _gauge("peerd_round", "Round of the run; 0 without one.", "", {"": sample.round})
        stages = {stage: stage == sample.stage for stage in STAGES}
        yield _gauge("peerd_stage", "1 for the stage that goes on.", "stage", stages)
        text = "Peers that contribute to the run, this one included; 0 without one."
        yield _gauge("peerd_cohort", text, "", {"": sample.cohort})
        text = "Other peers that take part in the run and do not contribute yet."
        yield _gauge("peerd_listeners", text, "", {"": sample.listeners})
        text = "Rounds of this run that were jumped over, to catch up with the others."
        yield _counter("peerd_rounds_skipped", text, "", {"": sample.rounds_skipped})
        text = "Fragments of closed rounds that were averaged in with less weight."
        yield _counter("peerd_stale_fragments", text, "", {"": self._stale_fragments})
        text = "Rounds, by what closed them."
        yield _counter("peerd_rounds_closed", text, "by", self._closed)
        yield _histogram("peerd_round_seconds", "Length of rounds.", self._round_seconds)
        text = "First fragment handed to delivery until the round closed."
        yield _histogram("peerd_exchange_seconds", text, self._exchange_seconds)
        measured = {"local": sample.accuracy_local, "aggregated": sample.accuracy_aggregated}
        accuracy = {model: value for model, value in measured.items() if value is not None}
        yield _gauge("peerd_accuracy", "On the shared test set, 0 to 1.", "model", accuracy)
        if sample.train_loss is not None:
            loss = {"": sample.train_loss}
            yield _gauge("peerd_train_loss", "Mean loss of the last training.", "", loss)
        if sample.epsilon is not None:
            text = "Privacy that this peer has spent in the run, at the run's privacy_delta."
            yield _gauge("peerd_privacy_epsilon", text, "", {"": sample.epsilon})

    def _resources(self, sample: Sample) -> Iterator[Metric]:
        stages = CounterMetricFamily(
            "peerd_stage_cpu_seconds", "CPU seconds by stage.", labels=("process", "stage")
        )
        daemon = dict.fromkeys(STAGES, 0.0) | self.stages.spent()
        trainer = dict.fromkeys(STAGES, 0.0) | self._trainer_stages
        for process, spent in (("daemon", daemon), ("trainer", trainer)):
            for stage, seconds in spent.items():
                stages.add_metric((process, stage), seconds)
        yield stages
        cpu = {"daemon": sample.daemon_cpu_seconds, "trainer": sample.trainer_cpu_seconds}
        text = "User and system CPU seconds."
        yield _counter("peerd_process_cpu_seconds", text, "process", cpu)
        memory = {"daemon": sample.daemon_rss_bytes, "trainer": sample.trainer_rss_bytes}
        text = "Resident memory."
        yield _gauge("peerd_process_resident_memory_bytes", text, "process", memory)
        text = "1 while the trainer process lives."
        yield _gauge("peerd_trainer_up", text, "", {"": sample.trainer_up})
        text = "Deaths of the trainer in this run after which it was started again."
        yield _counter("peerd_trainer_restarts", text, "", {"": sample.trainer_restarts})


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """`label` empty: the one value stands under an empty key."""
    family = CounterMetricFamily(name, text, labels=(label,) if label else ())
    for key, value in values.items():
        family.add_metric((key,) if label else (), float(value))
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,) if label else ())
    for key, value in values.items():
        family.add_metric((key,) if label else (), float(value))
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text)
    family.add_metric((), histogram.cumulative(), histogram.total)
    return family


def _info(name: str, text: str, **labels: str) -> InfoMetricFamily:
    return InfoMetricFamily(name, text, value=labels)
