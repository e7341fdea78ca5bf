"""Prometheus metrics of one peer: a registry of its own, filled at scrape from the tally and from
what the node says of itself (`Source`).

Names are `peerd_*` with base units. Every value of every label exists from the start, so that rates
work; only what was never measured (accuracy, loss, epsilon, entropy) is absent. No label names a peer, a path
or a packet, except the neighbours of links where the operator asked for it. `detail` says how much is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from peerd.clock import Clock, wall
from peerd.config import MetricsDetail, StrategyName
from peerd.observe.alarms import ALARMS, DISK_CAUSES
from peerd.observe.detail import Coarse
from peerd.observe.families import counter, gauge, histogram, info, one, total
from peerd.observe.resources import StageClock
from peerd.observe.sample import (
    CLOSED_BY,
    QUEUES,
    RUN_STATES,
    STAGES,
    TRAINER_ALIVE,
    TRAINER_STATES,
    Sample,
    Source,
)
from peerd.observe.tally import ENTROPY_BUCKETS, PEER_STATES, ROUND_BUCKETS, Histogram, Tally
from peerd.status import RoundResult
from peerd.types import DropReason


class Metrics(Collector):
    """Collects `Tally`, the stages, and the node's `Sample`. One for each peer, no globals."""

    def __init__(
        self, tally: Tally, source: Source, detail: MetricsDetail = "full", clock: Clock = wall
    ) -> None:
        """`clock`: Unix time, for `detail` coarse."""
        self._tally = tally
        self._source = source
        self._detail = detail
        self._coarse = Coarse()
        self._wall = clock
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
        families = self._families(self._source.sample())
        return families if self._detail == "full" else self._coarse.filter(families, self._wall())

    def _families(self, sample: Sample) -> Iterator[Metric]:
        yield from self._traffic(sample)
        yield from self._links(sample)
        yield from self._membership(sample)
        yield from self._delivery(sample)
        yield from self._mixing(sample)
        yield from self._learning(sample)
        yield from self._resources(sample)
        yield from self._host(sample)
        yield info("peerd_build", "The daemon.", version=sample.version)
        mixing = {"strategy": sample.strategy, "hops": str(sample.hops)}
        yield info("peerd_mixing", "The mixing in force.", **mixing)
        text = "How much these metrics tell: coarse or full, [metrics] detail."
        yield info("peerd_metrics_detail", text, detail=self._detail)

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
        yield counter(
            "peerd_dropped",
            "Packets, cells, messages and fragments discarded, by reason.",
            "reason",
            {reason.value: count for reason, count in self._tally.drops.items()},
        )

    def _links(self, sample: Sample) -> Iterator[Metric]:
        sizes = {"sent": sample.bytes_sent, "received": sample.bytes_received}
        yield counter("peerd_bytes", "Bytes of cells on links.", "direction", sizes)
        links = {"out": sample.links_out, "in": sample.links_in}
        yield gauge("peerd_links", "Links that are up.", "direction", links)
        queues = dict.fromkeys(QUEUES, 0) | dict(sample.queues)
        text = "Packets or messages that wait; link: on the link where most do."
        yield gauge("peerd_queue_depth", text, "queue", queues)
        text = "What the same queues hold at most; what comes then is dropped (in_flight: waits)."
        yield gauge("peerd_queue_limit", text, "queue", sample.queue_limits)
        if sample.neighbours:
            up = {neighbour.name: neighbour.up for neighbour in sample.neighbours}
            yield gauge("peerd_neighbour_up", "1 while a link is up.", "neighbour", up)
            rtt = {neighbour.name: neighbour.rtt_seconds for neighbour in sample.neighbours}
            text = "Round trip of a link's keepalive."
            yield gauge("peerd_neighbour_rtt_seconds", text, "neighbour", rtt)

    def _membership(self, sample: Sample) -> Iterator[Metric]:
        text = "Members of the network that are known here, this peer included."
        yield one("peerd_members", text, sample.members)
        peers = dict.fromkeys(PEER_STATES, 0) | dict(sample.peers)
        yield gauge("peerd_peers", "Other members, by state.", "state", peers)
        text = "Peers that came into a state."
        yield counter("peerd_peer_changes", text, "state", self._tally.peer_changes)
        text = "Peers that are held back, because they came and went too often."
        yield one("peerd_peers_damped", text, sample.peers_damped)
        text = "Losses in the last 15 minutes of the peer that was lost most often."
        yield one("peerd_peer_losses", text, sample.peer_losses)
        cells = {"sent": sample.gossip_sent, "received": sample.gossip_received}
        yield counter("peerd_gossip_cells", "Cells of gossip on links.", "direction", cells)
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
            yield one("peerd_clock_skew_seconds", text, sample.clock_skew_seconds)
        text = "1 while this peer is leaving."
        yield one("peerd_draining", text, sample.draining)

    def _delivery(self, sample: Sample) -> Iterator[Metric]:
        tally = self._tally
        yield counter(
            "peerd_messages",
            "Own messages: acknowledged, given up; and further attempts (resent).",
            "outcome",
            {"acked": tally.acked, "resent": tally.resent, "gave_up": tally.gave_up},
        )
        text = "Own messages dropped unacknowledged, because their recipient is dead, left or revoked."
        yield total("peerd_messages_dropped_unacked", text, tally.drops[DropReason.PEER_DEAD])
        unacknowledged = sample.queues.get("in_flight", 0)
        text = "Own messages sent and not acknowledged yet."
        yield one("peerd_messages_unacknowledged", text, unacknowledged)
        yield histogram("peerd_rtt_seconds", "Departure to acknowledgement.", tally.rtt)
        yield histogram("peerd_loop_rtt_seconds", "Round trip of loop cover.", tally.loop_rtt)

    def _mixing(self, sample: Sample) -> Iterator[Metric]:
        measured, tally = sample.mixing, self._tally
        text = "Entropy of this mix node's departures by the strategy in force in bits, moving average."
        seen = {sample.strategy: measured.entropy_bits} if measured.mixed else {}
        yield gauge("peerd_entropy_shannons", text, "strategy", seen)
        entropy = HistogramMetricFamily(
            "peerd_entropy_at_departure_shannons",
            "Entropy of each packet that departed, in bits.",
            labels=("strategy",),
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
        yield gauge("peerd_cover_rate_per_second", text, "slot", rates)
        text = "Cover that was due and not made, because packets of others waited."
        yield total("peerd_cover_forgone", text, measured.cover_forgone)
        loops = {"returned": measured.loops.returned, "lost": measured.loops.lost}
        yield counter("peerd_loops", "Loop cover that is settled.", "outcome", loops)
        text = (
            "1 while it lasts: sending without a mixnet, tracing every packet, loops that stay away, a full "
            "disk, a clock that differs from the others', an identity used twice, a run's other model."
        )
        alarms = dict.fromkeys(ALARMS, False) | dict(sample.alarms)
        yield gauge("peerd_alarm", text, "alarm", alarms)
        yield one("peerd_epoch", "Present epoch of the mix keys.", measured.epoch.epoch)
        text = "Unix time at which the present epoch ends; one that lies in the past is late."
        yield one("peerd_epoch_end_timestamp_seconds", text, sample.epoch_end)
        text = "Replay tags remembered, of all mix keys."
        yield one("peerd_replay_tags", text, measured.epoch.replay_tags)
        text = "Memory of the replay filters."
        yield one("peerd_replay_filter_bytes", text, measured.epoch.replay_bytes)
        text = "How full the fullest mix key's replay filter is, 0 to 1; at 1 it refuses all packets."
        yield one("peerd_replay_filter_used_ratio", text, sample.replay_filter_used)
        text = "Upper bound of the probability that a fresh packet is refused as a replay."
        rate = measured.epoch.replay_false_positive_rate
        yield one("peerd_replay_false_positive_ratio", text, rate)
        text = "Fresh packets refused as replays, by all mix keys since the start: on average, at most."
        expected = measured.epoch.replay_expected_false_positives
        yield total("peerd_replay_false_positives_expected", text, expected)

    def _learning(self, sample: Sample) -> Iterator[Metric]:
        yield one("peerd_round", "Round of the run; 0 without one.", sample.round)
        stages = {stage: stage == sample.stage for stage in STAGES}
        yield gauge("peerd_stage", "1 for the stage that goes on.", "stage", stages)
        states = {state: state == sample.run_state for state in RUN_STATES}
        yield gauge("peerd_run_state", "1 for the state of the last run; all 0 without one.", "state", states)
        text = "Fragments of others that came in this round."
        yield one("peerd_round_fragments_received", text, sample.fragments_received)
        text = "Fragments of others that are to come in this round in all."
        yield one("peerd_round_fragments_expected", text, sample.fragments_expected)
        text = "Peers that contribute to the run, this one included; 0 without one."
        yield one("peerd_cohort", text, sample.cohort)
        text = "Other peers that take part in the run and do not contribute yet."
        yield one("peerd_listeners", text, sample.listeners)
        text = "Rounds of this run that were jumped over, to catch up with the others."
        yield total("peerd_rounds_skipped", text, sample.rounds_skipped)
        text = "Fragments of closed rounds that were averaged in with less weight."
        yield total("peerd_stale_fragments", text, self._stale_fragments)
        text = "Rounds, by what closed them."
        yield counter("peerd_rounds_closed", text, "by", self._closed)
        yield histogram("peerd_round_seconds", "Length of rounds.", self._round_seconds)
        text = "First fragment handed to delivery until the round closed."
        yield histogram("peerd_exchange_seconds", text, self._exchange_seconds)
        measured = {"local": sample.accuracy_local, "aggregated": sample.accuracy_aggregated}
        accuracy = {model: value for model, value in measured.items() if value is not None}
        yield gauge("peerd_accuracy", "On the shared test set, 0 to 1.", "model", accuracy)
        if sample.train_loss is not None:
            yield one("peerd_train_loss", "Mean loss of the last training.", sample.train_loss)
        if sample.epsilon is not None:
            text = "Privacy that this peer has spent in the run, at the run's privacy_delta."
            yield one("peerd_privacy_epsilon", text, sample.epsilon)

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
        yield counter("peerd_process_cpu_seconds", text, "process", cpu)
        memory = {"daemon": sample.daemon_rss_bytes, "trainer": sample.trainer_rss_bytes}
        text = "Resident memory."
        yield gauge("peerd_process_resident_memory_bytes", text, "process", memory)
        text = "1 while the trainer process lives."
        yield one("peerd_trainer_up", text, sample.trainer_state in TRAINER_ALIVE)
        states = {state: state == sample.trainer_state for state in TRAINER_STATES}
        yield gauge("peerd_trainer_state", "1 for the state of the trainer process.", "state", states)
        text = "Deaths of the trainer in this run after which it was started again."
        yield total("peerd_trainer_restarts", text, sample.trainer_restarts)

    def _host(self, sample: Sample) -> Iterator[Metric]:
        yield one("peerd_start_time_seconds", "Unix time of this daemon's start.", sample.started_at)
        text = (
            "Unix time at which a certificate ends: this peer's for its links, with its issuer's; the CAs "
            "in force; this peer's as a delegate."
        )
        name = "peerd_certificate_expiry_timestamp_seconds"
        yield gauge(name, text, "certificate", sample.certificates)
        if sample.disk is not None:
            free, size = sample.disk
            text = "Bytes of the state directory's file system that this peer may still write."
            yield one("peerd_state_filesystem_free_bytes", text, free)
            text = "Size of the state directory's file system."
            yield one("peerd_state_filesystem_size_bytes", text, size)
        text = "1 while this cannot be written (the alarm disk, by its causes)."
        failing = dict.fromkeys(DISK_CAUSES, False) | dict(sample.disk_failing)
        yield gauge("peerd_disk_failing", text, "cause", failing)
        if sample.files is not None:
            yield one("peerd_open_fds", "File descriptors that are open.", sample.files[0])
            yield one("peerd_max_fds", "File descriptors that may be open.", sample.files[1])
        text = (
            "Control calls refused: callers without the right, malformed requests, callers over their "
            "bounds; and those that failed by an error of peerd's own."
        )
        yield counter("peerd_control_refused", text, "reason", self._tally.control_refused)
