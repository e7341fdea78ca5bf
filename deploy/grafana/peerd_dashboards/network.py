"""*Network*: all peers at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from peerd_dashboards.parts import (
    BAD,
    GOOD,
    PEERS,
    STAT_HEIGHT,
    Query,
    Row,
    dashboard,
    gauge,
    graph,
    increase,
    number,
    quantile,
    rate,
    states,
)

ALERTS = 'ALERTS{job="$job", alertstate="firing", severity!="info"}'


def board() -> Dashboard:
    return dashboard(
        "peerd-network",
        "peerd / Network",
        "Peers, links, rounds, accuracy and alarms of one network.",
        (_now(), _peers(), _rounds(), _traffic(), _hosts()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            number("Peers up", f"sum(up{{{PEERS}}})", steps=((1, GOOD),)),
            number("Peers down", f"count(up{{{PEERS}}} == 0) or vector(0)", steps=((0, GOOD), (1, BAD))),
            number("Alarms", f"sum({gauge('peerd_alarm')})", steps=((0, GOOD), (1, BAD))),
            number("Alerts", f"count({ALERTS}) or vector(0)", steps=((0, GOOD), (1, BAD))),
            number("Round", f"max({gauge('peerd_round')})"),
            number(
                "Accuracy",
                f"avg({gauge('peerd_accuracy', model='aggregated')})",
                unit=units.PercentUnit,
                about="Of the aggregated models, on the shared test set: mean over the peers.",
            ),
        ),
        STAT_HEIGHT,
    )


def _peers() -> Row:
    seen = gauge("peerd_peers", state="alive")
    return Row(
        "Peers and links",
        (
            states("Peers", Query(f"up{{{PEERS}}}"), values={0: ("down", BAD), 1: ("up", GOOD)}),
            graph(
                "Others that each peer sees alive",
                Query(f"sum by (instance) ({seen})"),
                about="All but itself.",
            ),
            graph(
                "Peers lost",
                Query(
                    f"sum by (instance) (increase({gauge('peerd_peer_changes_total', state='suspect')}[15m]))"
                ),
                about="Times in 15 minutes that a peer's link to another went down.",
            ),
            graph("Links", Query(f"sum by (direction) ({gauge('peerd_links')})", "{{direction}}")),
        ),
    )


def _rounds() -> Row:
    return Row(
        "Rounds and alarms",
        (
            graph("Round", Query(gauge("peerd_round"))),
            graph(
                "Accuracy of the aggregated model",
                Query(gauge("peerd_accuracy", model="aggregated")),
                unit=units.PercentUnit,
                most=1.0,
            ),
            graph(
                "Rounds closed",
                Query(increase("peerd_rounds_closed_total", "by"), "{{by}}"),
                about="In 15 minutes, by what closed them.",
                stacked=True,
            ),
            states(
                "Alarms",
                Query(f"max by (alarm) ({gauge('peerd_alarm')})", "{{alarm}}"),
                values={0: ("off", GOOD), 1: ("raised", BAD)},
                about="Raised by any peer; see deploy/prometheus/RUNBOOK.md.",
            ),
        ),
    )


def _traffic() -> Row:
    return Row(
        "Traffic",
        (
            graph("Sent", Query(rate("peerd_bytes_total", direction="sent")), unit=units.BytesPerSecondIEC),
            graph(
                "Packets received",
                Query(rate("peerd_packets_total", direction="received")),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Dropped, by reason",
                Query(f"topk(10, {rate('peerd_dropped_total', by='reason')})", "{{reason}}"),
                unit=units.PacketsPerSecond,
                about="Packets, cells, messages and fragments: the ten reasons that come most often.",
            ),
            graph(
                "Round trip of loops",
                Query(quantile(0.5, "peerd_loop_rtt_seconds"), "median"),
                Query(quantile(0.95, "peerd_loop_rtt_seconds"), "95 %"),
                unit=units.Seconds,
            ),
        ),
    )


def _hosts() -> Row:
    cpu, memory = "peerd_process_cpu_seconds_total", "peerd_process_resident_memory_bytes"
    expiry = gauge("peerd_certificate_expiry_timestamp_seconds")
    free, size = (gauge(f"peerd_state_filesystem_{what}_bytes") for what in ("free", "size"))
    return Row(
        "Hosts",
        (
            graph("CPU of the daemons", Query(rate(cpu, process="daemon")), about="In cores: at most one."),
            graph("Memory of the daemons", Query(gauge(memory, process="daemon")), unit=units.BytesIEC),
            graph("Free on the disk", Query(f"{free} / {size}"), unit=units.PercentUnit, most=1.0),
            graph(
                "Certificates end in",
                Query(f"min by (certificate) ({expiry}) - time()", "{{certificate}}"),
                unit=units.Seconds,
                least=None,
            ),
        ),
    )
