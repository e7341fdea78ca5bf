"""*Peer*: one of them, with all that it says."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from peerd_dashboards.parts import (
    BAD,
    FULL,
    GOOD,
    OFF,
    STAT_HEIGHT,
    WARN,
    WINDOW,
    Query,
    Row,
    dashboard,
    gauge,
    graph,
    heat,
    number,
    quantile,
    rate,
    states,
)

RUN_STATES = {"starting": 1, "running": 2, "paused": 3, "finished": 4, "stopped": 5, "failed": 6}


def board() -> Dashboard:
    return dashboard(
        "peerd-peer",
        "peerd / Peer",
        "One peer: CPU and memory, packets, queues, round trips, entropy.",
        (_now(), _resources(), _packets(), _queues(), _times(), _membership(), _host()),
        one_peer=True,
    )


def _now() -> Row:
    filled = f"max({gauge('peerd_queue_depth')} / on (job, instance, queue) {gauge('peerd_queue_limit')})"
    return Row(
        "Now",
        (
            number("Up since", f"time() - {gauge('peerd_start_time_seconds')}", unit=units.Seconds),
            number("Version", gauge("peerd_build_info"), legend="{{version}}", names=True),
            number("Mixing", gauge("peerd_mixing_info"), legend="{{strategy}}, {{hops}} hops", names=True),
            number("Metrics", gauge("peerd_metrics_detail_info"), legend="{{detail}}", names=True),
            number("Alarms", f"sum({gauge('peerd_alarm')})", steps=((0, GOOD), (1, BAD))),
            number(
                "Fullest queue", filled, unit=units.PercentUnit, steps=((0, GOOD), (0.5, WARN), (0.8, BAD))
            ),
        ),
        STAT_HEIGHT,
    )


def _resources() -> Row:
    by_stage = "peerd_stage_cpu_seconds_total"
    return Row(
        "CPU and memory",
        (
            graph(
                "CPU by process",
                Query(rate("peerd_process_cpu_seconds_total", by="process"), "{{process}}"),
                about="In cores.",
            ),
            graph(
                "CPU of the daemon by stage",
                Query(rate(by_stage, process="daemon", by="stage"), "{{stage}}"),
                about=f"In cores: what relaying costs while the run is in which stage. {FULL}",
                stacked=True,
            ),
            graph(
                "CPU of the trainer by stage",
                Query(rate(by_stage, process="trainer", by="stage"), "{{stage}}"),
                about=f"In cores. {FULL}",
                stacked=True,
            ),
            graph(
                "Memory by process",
                Query(gauge("peerd_process_resident_memory_bytes"), "{{process}}"),
                unit=units.BytesIEC,
            ),
        ),
    )


def _packets() -> Row:
    return Row(
        "Packets",
        (
            graph(
                "Sent, by kind",
                Query(rate("peerd_packets_total", direction="sent", by="kind"), "{{kind}}"),
                unit=units.PacketsPerSecond,
                about='With [metrics] detail = "coarse" all are of the kind any.',
                stacked=True,
            ),
            graph(
                "Received",
                Query(rate("peerd_packets_total", direction="received"), "received"),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Dropped, by reason",
                Query(rate("peerd_dropped_total", by="reason") + " > 0 or vector(0)", "{{reason}}"),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Bytes on links",
                Query(rate("peerd_bytes_total", by="direction"), "{{direction}}"),
                unit=units.BytesPerSecondIEC,
            ),
        ),
    )


def _queues() -> Row:
    depth, limit = gauge("peerd_queue_depth"), gauge("peerd_queue_limit")
    return Row(
        "Queues and messages",
        (
            graph("Depth of queues", Query(depth, "{{queue}}")),
            graph(
                "How full queues are",
                Query(f"{depth} / on (job, instance, queue) {limit}", "{{queue}}"),
                unit=units.PercentUnit,
                about="in_flight is the window of unacknowledged messages: full while an update is sent.",
            ),
            graph(
                "Own messages",
                Query(rate("peerd_messages_total", by="outcome"), "{{outcome}}"),
                unit=units.PacketsPerSecond,
                about='With [metrics] detail = "coarse" those that were given up only.',
            ),
            graph("Unacknowledged", Query(gauge("peerd_messages_unacknowledged"), "messages"), about=FULL),
        ),
    )


def _times() -> Row:
    def percentiles(metric: str) -> list[Query]:
        return [Query(quantile(q, metric), f"{q * 100:g} %") for q in (0.5, 0.9, 0.95, 0.99)]

    entropy = f"sum by (le) (increase({gauge('peerd_entropy_at_departure_shannons_bucket')}[{WINDOW}]))"
    return Row(
        "Round trips and entropy",
        (
            graph(
                "Round trip of own messages",
                *percentiles("peerd_rtt_seconds"),
                unit=units.Seconds,
                about=f"Departure to acknowledgement. {FULL}",
            ),
            graph("Round trip of loops", *percentiles("peerd_loop_rtt_seconds"), unit=units.Seconds),
            graph(
                "Entropy",
                Query(gauge("peerd_entropy_shannons"), "bits"),
                about="Of this mix node's departures, moving average.",
            ),
            heat("Entropy at departure", entropy, about="Bits, of each packet that departed."),
        ),
    )


def _membership() -> Row:
    run = " or ".join(
        f"{value} * {gauge('peerd_run_state', state=state)}" for state, value in RUN_STATES.items()
    )
    names = {0: ("none", OFF)} | {
        value: (state, BAD if state == "failed" else GOOD if state == "running" else WARN)
        for state, value in RUN_STATES.items()
    }
    return Row(
        "Others and run",
        (
            graph("Others, by state", Query(gauge("peerd_peers"), "{{state}}"), stacked=True),
            graph(
                "Gossip",
                Query(rate("peerd_gossip_cells_total", by="direction"), "cells {{direction}}"),
                Query(rate("peerd_gossip_records_total", by="outcome"), "records {{outcome}}"),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Difference to the clocks of neighbours",
                Query(gauge("peerd_clock_skew_seconds"), "largest"),
                unit=units.Seconds,
            ),
            states("Run", Query(f"sum by (instance) ({run})", "run"), values=names),
        ),
    )


def _host() -> Row:
    return Row(
        "Keys, disk, files",
        (
            graph(
                "Epoch ends in",
                Query(f"{gauge('peerd_epoch_end_timestamp_seconds')} - time()", "epoch"),
                unit=units.Seconds,
                about="Below zero: late.",
                least=None,
            ),
            graph("Replay tags", Query(gauge("peerd_replay_tags"), "tags"), about="Of all mix keys."),
            graph(
                "Free on the disk",
                Query(gauge("peerd_state_filesystem_free_bytes"), "free"),
                Query(gauge("peerd_state_filesystem_size_bytes"), "size"),
                unit=units.BytesIEC,
            ),
            graph(
                "File descriptors",
                Query(gauge("peerd_open_fds"), "open"),
                Query(gauge("peerd_max_fds"), "limit"),
            ),
        ),
    )
