"""How much the metrics tell: `[metrics] detail`.

Nobody has to log in to `/metrics`, and a Prometheus keeps what all peers say in one place for weeks: what it
holds should not be the record that a watcher of every wire would need. `coarse` leaves out whatever tells a
peer's own traffic from what it relays, when it begins to send an update, and what its private data made of
the model; what else follows traffic changes once a minute at most. `full` tells all.

A family that is not in `DETAIL` is told in `full` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample as Point

Grade = Literal["live", "minute", "full"]

DETAIL: Mapping[str, Grade] = {
    # What the host, its configuration and its membership are: nothing of it follows traffic.
    **dict.fromkeys(
        (
            "peerd_build",
            "peerd_mixing",
            "peerd_metrics_detail",
            "peerd_start_time_seconds",
            "peerd_alarm",
            "peerd_links",
            "peerd_members",
            "peerd_peers",
            "peerd_peer_changes",
            "peerd_peers_damped",
            "peerd_peer_losses",
            "peerd_draining",
            "peerd_clock_skew_seconds",
            "peerd_queue_limit",
            "peerd_cover_rate_per_second",
            "peerd_epoch",
            "peerd_epoch_end_timestamp_seconds",
            "peerd_certificate_expiry_timestamp_seconds",
            "peerd_state_filesystem_free_bytes",
            "peerd_state_filesystem_size_bytes",
            "peerd_disk_failing",
            "peerd_open_fds",
            "peerd_max_fds",
            "peerd_control_refused",
            "peerd_run_state",
            "peerd_cohort",
            "peerd_listeners",
            "peerd_privacy_epsilon",
            "peerd_trainer_up",
            "peerd_trainer_state",
            "peerd_trainer_restarts",
        ),
        "live",
    ),
    # Sums over all traffic, failures, and rounds as a whole.
    **dict.fromkeys(
        (
            "peerd_packets",
            "peerd_dropped",
            "peerd_bytes",
            "peerd_queue_depth",
            "peerd_gossip_cells",
            "peerd_gossip_records",
            "peerd_messages",
            "peerd_messages_dropped_unacked",
            "peerd_loop_rtt_seconds",
            "peerd_loops",
            "peerd_entropy_shannons",
            "peerd_entropy_at_departure_shannons",
            "peerd_cover_forgone",
            "peerd_replay_tags",
            "peerd_replay_filter_used_ratio",
            "peerd_replay_filter_bytes",
            "peerd_replay_false_positive_ratio",
            "peerd_replay_false_positives_expected",
            "peerd_round",
            "peerd_rounds_skipped",
            "peerd_rounds_closed",
            "peerd_round_seconds",
            "peerd_stale_fragments",
            "peerd_accuracy",
            "peerd_process_cpu_seconds",
            "peerd_process_resident_memory_bytes",
        ),
        "minute",
    ),
    # When a peer sends of its own accord and how much; what its own data made.
    **dict.fromkeys(
        (
            "peerd_messages_unacknowledged",
            "peerd_rtt_seconds",
            "peerd_stage",
            "peerd_stage_cpu_seconds",
            "peerd_exchange_seconds",
            "peerd_round_fragments_received",
            "peerd_round_fragments_expected",
            "peerd_train_loss",
            "peerd_neighbour_up",
            "peerd_neighbour_rtt_seconds",
        ),
        "full",
    ),
}
"""By family, without `_total` and `_info`."""

KEPT: Mapping[str, tuple[str, frozenset[str]]] = {
    "peerd_queue_depth": ("queue", frozenset({"inbox", "mix", "link"})),  # the others hold own messages
    "peerd_messages": ("outcome", frozenset({"gave_up"})),
    # Who has put a model together from fragments and measures it would know whose it is.
    "peerd_accuracy": ("model", frozenset({"aggregated"})),
    # A trainer's CPU time and its being busy tell when training ends, so when sending begins.
    "peerd_trainer_state": ("state", frozenset({"off", "starting", "dead"})),
    "peerd_process_cpu_seconds": ("process", frozenset({"daemon"})),
    "peerd_process_resident_memory_bytes": ("process", frozenset({"daemon"})),
}
"""Of these families `coarse` tells only some values of a label."""
MINUTE_SECONDS = 60


class Coarse:
    """What `coarse` leaves of the families of a scrape. Whatever follows traffic stays as it was at the first
    scrape of each minute of the wall clock, so that nobody sees more by asking more often."""

    def __init__(self) -> None:
        self._minute: int | None = None
        self._held: tuple[Metric, ...] = ()

    def filter(self, families: Iterable[Metric], wall: float) -> Iterator[Metric]:
        minute = int(wall // MINUTE_SECONDS)
        fresh = []
        for family in families:
            match DETAIL.get(family.name, "full"):
                case "live":
                    yield _kept(family)
                case "minute":
                    fresh.append(family)
        if minute != self._minute:
            self._minute, self._held = minute, tuple(_merged(_kept(family)) for family in fresh)
        yield from self._held


def _kept(family: Metric) -> Metric:
    if family.name in KEPT:
        label, values = KEPT[family.name]
        family.samples = [point for point in family.samples if point.labels[label] in values]
    return family


def _merged(family: Metric) -> Metric:
    """Packets: all that was sent is one sum, as what was received is. Which of them were new messages for
    this peer is left out."""
    if family.name == "peerd_packets":
        sums = {"sent": 0.0, "received": 0.0}
        for point in family.samples:
            if (direction := point.labels["direction"]) in sums:
                sums[direction] += point.value
        name = f"{family.name}_total"
        family.samples = [
            Point(name, {"direction": direction, "kind": "any"}, value) for direction, value in sums.items()
        ]
    return family
