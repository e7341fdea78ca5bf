"""What the status page shows: what the metrics tell with the same `detail`, plus what this peer is called and
which run it is in.

Nothing of a single packet, fragment or neighbour, except what `metrics.neighbour_labels` opens; no error
texts, which may quote paths of this host: they are for the log and the control API.
"""

from __future__ import annotations

import math

import msgspec
from msgspec.structs import replace

from peerd.config import MetricsDetail
from peerd.observe.detail import KEPT
from peerd.observe.sample import Neighbour, Sample
from peerd.status import MixingMeasured, NodeStatus, RoundResult, RunStatus

CURVE_ROUNDS = 200
"""Of the accuracy curve: the latest."""


class RoundPoint(msgspec.Struct, frozen=True, kw_only=True):
    round: int
    accuracy: float | None
    """Of the aggregated model; None where nothing finite was measured."""
    accuracy_local: float | None
    seconds: float


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    task: str
    state: str
    """starting, running, paused, finished, stopped, failed"""
    stage: str
    """Empty where it is withheld: `coarse` does not tell when a peer begins to send."""
    round: int
    rounds: int
    cohort: int
    listeners: int
    ended_by: str
    epsilon: float | None
    curve: list[RoundPoint]


class MixState(msgspec.Struct, frozen=True, kw_only=True):
    strategy: str
    hops: int
    """Of own paths: 0 in direct mode."""
    entropy_bits: float | None
    """None before the first departure."""
    hidden_bits: float | None
    """Estimate of how well a sender is hidden on a path of so many hops; None in direct mode."""
    of_bits: float | None
    loop_loss: float | None
    loops_returned: int
    loops_lost: int
    epoch: int
    epoch_ends_in_seconds: float
    cover_rates: dict[str, float]


class TrafficState(msgspec.Struct, frozen=True, kw_only=True):
    packets: dict[str, int]
    dropped: dict[str, int]
    bytes_sent: int
    bytes_received: int
    acked: int | None
    resent: int | None
    gave_up: int
    rtt_p50_seconds: float | None
    rtt_p95_seconds: float | None
    queues: dict[str, int]


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    daemon_cpu_seconds: float
    daemon_rss_bytes: int
    trainer: str
    trainer_restarts: int
    trainer_cpu_seconds: float | None
    trainer_rss_bytes: int | None


class NeighbourState(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    up: bool
    rtt_seconds: float


class PageState(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of /status.json."""

    name: str
    network: str
    version: str
    uptime_seconds: float
    draining: bool
    alarms: list[str]
    members: int
    peers: dict[str, int]
    """Number of other peers by state."""
    links_out: int
    links_in: int
    mixing: MixState
    run: RunState | None
    traffic: TrafficState
    processes: ProcessState
    neighbours: list[NeighbourState]
    """Empty unless the operator opened them."""
    detail: MetricsDetail = "full"


def coarse(state: PageState) -> PageState:
    """Without what `detail.Coarse` leaves out of the metrics, for the same reasons: what tells own traffic
    from relayed, when this peer trains and sends, and how well its own model does."""
    traffic, processes = state.traffic, state.processes
    busy = processes.trainer in ("busy", "idle")
    return replace(
        state,
        detail="coarse",
        neighbours=[],
        run=None if state.run is None else replace(state.run, stage="", curve=_aggregated(state.run.curve)),
        traffic=replace(
            traffic,
            packets={"all": sum(traffic.packets.values())},
            acked=None,
            resent=None,
            rtt_p50_seconds=None,
            rtt_p95_seconds=None,
            queues={name: n for name, n in traffic.queues.items() if name in KEPT["peerd_queue_depth"][1]},
        ),
        processes=replace(
            processes,
            trainer="up" if busy else processes.trainer,
            trainer_cpu_seconds=None,
            trainer_rss_bytes=None,
        ),
    )


def _aggregated(curve: list[RoundPoint]) -> list[RoundPoint]:
    return [replace(point, accuracy_local=None) for point in curve]


def page_state(status: NodeStatus, sample: Sample, run: RunStatus | None) -> PageState:
    return PageState(
        name=status.name,
        network=status.network,
        version=sample.version,
        uptime_seconds=status.uptime_seconds,
        draining=sample.draining,
        alarms=[name for name, raised in sample.alarms.items() if raised],
        members=sample.members,
        peers={state: count for state, count in sample.peers.items() if count},
        links_out=sample.links_out,
        links_in=sample.links_in,
        mixing=_mixing(sample.strategy, sample.hops, sample.mixing),
        run=None if run is None else _run(run),
        traffic=_traffic(status, sample),
        processes=ProcessState(
            daemon_cpu_seconds=sample.daemon_cpu_seconds,
            daemon_rss_bytes=sample.daemon_rss_bytes,
            trainer=status.trainer.state,
            trainer_restarts=sample.trainer_restarts,
            trainer_cpu_seconds=sample.trainer_cpu_seconds,
            trainer_rss_bytes=sample.trainer_rss_bytes,
        ),
        neighbours=[_neighbour(neighbour) for neighbour in sample.neighbours],
    )


def _mixing(strategy: str, hops: int, measured: MixingMeasured) -> MixState:
    path = next((path for path in measured.end_to_end if path.hops == hops), None)
    loops, epoch = measured.loops, measured.epoch
    return MixState(
        strategy=strategy,
        hops=hops,
        entropy_bits=measured.entropy_bits if measured.mixed else None,
        hidden_bits=None if path is None else path.bits,
        of_bits=None if path is None else path.of_bits,
        loop_loss=loops.loss,
        loops_returned=loops.returned,
        loops_lost=loops.lost,
        epoch=epoch.epoch,
        epoch_ends_in_seconds=epoch.ends_in_seconds,
        cover_rates={
            "send": measured.send_rate_per_second,
            "loop": measured.loop_rate_per_second,
            "drop": measured.drop_rate_per_second,
        },
    )


def _run(run: RunStatus) -> RunState:
    return RunState(
        run_id=run.spec.run_id,
        task=run.spec.task,
        state=run.state,
        stage=run.stage,
        round=run.round,
        rounds=run.spec.rounds,
        cohort=run.cohort,
        listeners=run.listeners,
        ended_by=run.ended_by,
        epsilon=run.epsilon,
        curve=[_point(result) for result in run.results[-CURVE_ROUNDS:]],
    )


def _point(result: RoundResult) -> RoundPoint:
    measured = result.test_samples > 0
    return RoundPoint(
        round=result.round,
        accuracy=_finite(result.accuracy) if measured else None,
        accuracy_local=_finite(result.accuracy_local) if measured and not result.listened else None,
        seconds=result.round_seconds,
    )


def _traffic(status: NodeStatus, sample: Sample) -> TrafficState:
    traffic = status.traffic
    return TrafficState(
        packets=dict(traffic.packets),
        dropped=dict(traffic.dropped),
        bytes_sent=sample.bytes_sent,
        bytes_received=sample.bytes_received,
        acked=traffic.acked,
        resent=traffic.resent,
        gave_up=traffic.gave_up,
        rtt_p50_seconds=traffic.rtt_p50_seconds or None,
        rtt_p95_seconds=traffic.rtt_p95_seconds or None,
        queues=dict(sample.queues),
    )


def _neighbour(neighbour: Neighbour) -> NeighbourState:
    return NeighbourState(name=neighbour.name, up=neighbour.up, rtt_seconds=neighbour.rtt_seconds)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
