"""*Training*: rounds, what they reach, and what they cost."""

from __future__ import annotations

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from peerd_dashboards.parts import (
    BAD,
    FULL,
    GOOD,
    OFF,
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

STAGES = {
    "starting": (1, "purple"),
    "listening": (2, "yellow"),
    "training": (3, "blue"),
    "exchanging": (4, "green"),
    "evaluating": (5, "light-blue"),
    "paused": (6, "orange"),
    "done": (7, "super-light-green"),
}
RUNNING = "~starting|running|paused"


def board() -> Dashboard:
    return dashboard(
        "peerd-training",
        "peerd / Training",
        "Accuracy, rounds and stages, bytes and CPU of a run.",
        (_now(), _accuracy(), _stages(), _rounds(), _costs()),
    )


def _now() -> Row:
    accuracy = gauge("peerd_accuracy", model="aggregated")
    return Row(
        "Now",
        (
            number("Round", f"max({gauge('peerd_round')})"),
            number("Peers in the run", f"sum({gauge('peerd_run_state', state=RUNNING)})"),
            number("Failed", f"sum({gauge('peerd_run_state', state='failed')})", steps=((0, GOOD), (1, BAD))),
            number(
                "Best accuracy", f"max({accuracy})", unit=units.PercentUnit, about="Of an aggregated model."
            ),
            number(
                "Worst accuracy", f"min({accuracy})", unit=units.PercentUnit, about="Of an aggregated model."
            ),
            number("Trainers up", f"sum({gauge('peerd_trainer_up')})"),
        ),
        STAT_HEIGHT,
    )


def _accuracy() -> Row:
    def accuracy(model: str) -> Query:
        return Query(gauge("peerd_accuracy", model=model))

    return Row(
        "Accuracy",
        (
            graph(
                "Accuracy of the aggregated model",
                accuracy("aggregated"),
                unit=units.PercentUnit,
                most=1.0,
                about="On the shared test set, after each round.",
            ),
            graph(
                "Accuracy of the local model",
                accuracy("local"),
                unit=units.PercentUnit,
                most=1.0,
                about=f"Of each peer's own model, before averaging. {FULL}",
            ),
            graph(
                "Loss in training",
                Query(gauge("peerd_train_loss")),
                about=f"Mean over the last training. {FULL}",
            ),
            graph(
                "Privacy spent", Query(gauge("peerd_privacy_epsilon")), about="Epsilon, of runs with noise."
            ),
        ),
    )


def _stages() -> Row:
    terms = " or ".join(
        f"{value} * {gauge('peerd_stage', stage=stage)}" for stage, (value, _) in STAGES.items()
    )
    names = {0: ("idle", OFF)} | {value: (stage, color) for stage, (value, color) in STAGES.items()}
    return Row(
        "Stages",
        (
            states("Stages", Query(f"sum by (instance) ({terms})"), values=names, about=FULL),
            graph("Round of each peer", Query(gauge("peerd_round"))),
        ),
    )


def _rounds() -> Row:
    received, expected = (gauge(f"peerd_round_fragments_{what}") for what in ("received", "expected"))
    return Row(
        "Rounds",
        (
            graph(
                "Length of rounds",
                Query(quantile(0.5, "peerd_round_seconds"), "median"),
                Query(quantile(0.95, "peerd_round_seconds"), "95 %"),
                unit=units.Seconds,
            ),
            graph(
                "Exchange of fragments",
                Query(quantile(0.5, "peerd_exchange_seconds"), "median"),
                Query(quantile(0.95, "peerd_exchange_seconds"), "95 %"),
                unit=units.Seconds,
                about=f"First fragment handed to delivery until the round closed. {FULL}",
            ),
            graph(
                "Fragments of this round",
                Query(f"{received} / ({expected} > 0)"),
                unit=units.PercentUnit,
                most=1.0,
                about=f"Received, of those that are expected of the others. {FULL}",
            ),
            graph(
                "Rounds closed and skipped",
                Query(increase("peerd_rounds_closed_total", "by"), "{{by}}"),
                Query(increase("peerd_rounds_skipped_total", "job"), "skipped"),
                about="In 15 minutes, all peers together.",
            ),
        ),
    )


def _costs() -> Row:
    sent = increase("peerd_bytes_total", "job", direction="sent")
    closed = increase("peerd_rounds_closed_total", "job")
    return Row(
        "Costs",
        (
            graph(
                "Bytes on links",
                Query(rate("peerd_bytes_total", by="direction"), "{{direction}}"),
                unit=units.BytesPerSecondIEC,
                about="All peers together, cover and relayed packets too.",
            ),
            graph(
                "Bytes for a round",
                Query(f"{sent} / ({closed} > 0)", "a peer"),
                unit=units.BytesIEC,
                about="Sent by one peer in the time of one round, over 15 minutes.",
            ),
            graph(
                "CPU of trainers by stage",
                Query(rate("peerd_stage_cpu_seconds_total", process="trainer", by="stage"), "{{stage}}"),
                stacked=True,
                about=f"In cores, all peers together. {FULL}",
            ),
            graph(
                "Trainers",
                Query(f"sum({gauge('peerd_trainer_up')})", "up"),
                Query(
                    f"sum(increase({gauge('peerd_trainer_restarts_total')}[15m]))", "restarts in 15 minutes"
                ),
            ),
        ),
    )
