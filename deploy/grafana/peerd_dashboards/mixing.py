"""*Mixing*: what packets there are, what is lost, and how well they hide."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from peerd_dashboards.parts import (
    BAD,
    FULL,
    GOOD,
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

COVER = "loop|drop|dummy"


def board() -> Dashboard:
    return dashboard(
        "peerd-mixing",
        "peerd / Mixing",
        "Forwarded and own packets, acknowledgements, cover, drops, entropy, loops.",
        (_now(), _packets(), _hiding(), _loops(), _cover()),
    )


def _lost(window: str) -> str:
    lost = f"sum by (instance) (rate({gauge('peerd_loops_total', outcome='lost')}[{window}]))"
    return f"{lost} / (sum by (instance) (rate({gauge('peerd_loops_total')}[{window}])) > 0)"


def _now() -> Row:
    return Row(
        "Now",
        (
            number(
                "Strategies",
                f"count(count by (strategy) ({gauge('peerd_mixing_info')}))",
                steps=((1, GOOD), (2, WARN)),
                about="All peers should mix alike.",
            ),
            number(
                "Mixing",
                f"count by (strategy, hops) ({gauge('peerd_mixing_info')})",
                legend="{{strategy}}, {{hops}} hops",
                names=True,
            ),
            number(
                "Least entropy",
                f"min({gauge('peerd_entropy_shannons')})",
                about="Bits, of the peer with least.",
            ),
            number(
                "Loops lost",
                f"max({_lost('15m')})",
                unit=units.PercentUnit,
                about="In 15 minutes, at the peer that lost most.",
                steps=((0, GOOD), (0.2, WARN), (0.5, BAD)),
            ),
            number(
                "Blending alarms",
                f"sum({gauge('peerd_alarm', alarm='blending')})",
                steps=((0, GOOD), (1, BAD)),
            ),
            number(
                "Without anonymity",
                f"sum({gauge('peerd_alarm', alarm='~direct|tracing')})",
                steps=((0, GOOD), (1, BAD)),
                about="Peers in direct mode or with tracing.",
            ),
        ),
        STAT_HEIGHT,
    )


def _packets() -> Row:
    def sent(kinds: str, by: str = "kind") -> str:
        return rate("peerd_packets_total", by, direction="sent", kind=f"~{kinds}")

    return Row(
        "Packets",
        (
            graph(
                "Sent, by kind",
                Query(sent(".+"), "{{kind}}"),
                unit=units.PacketsPerSecond,
                stacked=True,
                about='All peers together. With [metrics] detail = "coarse" all are of the kind any.',
            ),
            graph("Forwarded", Query(sent("forwarded", "instance")), unit=units.PacketsPerSecond, about=FULL),
            graph(
                "Own, acknowledgements, cover",
                Query(sent("own", "job"), "own"),
                Query(sent("ack", "job"), "ack"),
                Query(sent(COVER, "job"), "cover"),
                unit=units.PacketsPerSecond,
                about=FULL,
            ),
            graph(
                "Dropped, by reason",
                Query(f"topk(10, {rate('peerd_dropped_total', by='reason')})", "{{reason}}"),
                unit=units.PacketsPerSecond,
                about="The ten reasons that come most often.",
            ),
        ),
    )


def _hiding() -> Row:
    buckets = gauge("peerd_entropy_at_departure_shannons_bucket")
    waiting = gauge("peerd_queue_depth", queue="mix")
    return Row(
        "Entropy",
        (
            graph(
                "Entropy",
                Query(gauge("peerd_entropy_shannons")),
                about="Bits, for who watches this one mix node: moving average over departures.",
            ),
            heat(
                "Entropy at departure",
                f"sum by (le) (increase({buckets}[{WINDOW}]))",
                about="Bits, of each packet.",
            ),
            graph(
                "Entropy at departure, by strategy",
                Query(
                    f"histogram_quantile(0.5, sum by (strategy, le) (rate({buckets}[{WINDOW}])))",
                    "{{strategy}}",
                ),
                about="Bits: the median.",
            ),
            graph("Packets that strategies hold", Query(waiting)),
        ),
    )


def _loops() -> Row:
    return Row(
        "Loops",
        (
            graph(
                "Loops lost",
                Query(_lost("5m")),
                unit=units.PercentUnit,
                most=1.0,
                about="Of those settled in 5 minutes.",
            ),
            graph(
                "Loops, by outcome",
                Query(rate("peerd_loops_total", by="outcome"), "{{outcome}}"),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Round trip of loops",
                *(Query(quantile(q, "peerd_loop_rtt_seconds"), f"{q * 100:g} %") for q in (0.5, 0.95, 0.99)),
                unit=units.Seconds,
            ),
            states(
                "Blending alarm",
                Query(gauge("peerd_alarm", alarm="blending")),
                values={0: ("off", GOOD), 1: ("raised", BAD)},
            ),
        ),
    )


def _cover() -> Row:
    return Row(
        "Cover and replays",
        (
            graph(
                "Cover rates in force",
                Query(f"avg by (slot) ({gauge('peerd_cover_rate_per_second')})", "{{slot}}"),
                unit=units.PacketsPerSecond,
                about="Sending slots, loops and drops, after the budget: mean over the peers.",
            ),
            graph(
                "Cover forgone",
                Query(rate("peerd_cover_forgone_total")),
                unit=units.PacketsPerSecond,
                about="Due and not made, because packets of others waited.",
            ),
            graph(
                "Replays refused",
                Query(rate("peerd_dropped_total", reason="replay")),
                unit=units.PacketsPerSecond,
            ),
            graph(
                "Fullest replay filter",
                Query(gauge("peerd_replay_filter_used_ratio")),
                unit=units.PercentUnit,
            ),
        ),
    )
