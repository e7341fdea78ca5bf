"""Snapshots that the daemon gives of itself. Field for field the messages of proto/peerd/pb.

Plain frozen data: the node fills them, the control servicers translate them, nobody mutates them.
"""

from __future__ import annotations

import msgspec

from peerd.types import RunSpec


class TrainerStatus(msgspec.Struct, frozen=True, kw_only=True):
    state: str = "off"
    """off, starting, idle, busy, dead"""
    pid: int = 0
    restarts: int = 0
    last_error: str = ""
    cpu_seconds: float = 0.0
    rss_bytes: int = 0


class TrafficStatus(msgspec.Struct, frozen=True, kw_only=True):
    packets: dict[str, int]
    """Departed, by kind."""
    dropped: dict[str, int]
    """By reason."""
    resent: int
    gave_up: int
    acked: int
    delivered: int
    in_flight: int
    queued: int
    bytes_sent: int
    bytes_received: int
    cell_bytes: int
    """Of every cell on every link."""
    rtt_p50_seconds: float
    rtt_p95_seconds: float
    rtt_samples: list[float]


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    peer_id: str
    version: str
    network: str
    uptime_seconds: float
    link_address: str
    metrics_address: str
    peers_enrolled: int
    peers_alive: int
    strategy: str
    hops: int
    run_id: str
    run_state: str
    round: int
    stage: str
    trainer: TrainerStatus
    traffic: TrafficStatus
    cpu_seconds: float
    rss_bytes: int
    epoch: int
    alarms: list[str]
    """What an operator should act on now: `direct`, `tracing`, `blending`, `disk`, `clock`, `identity`."""
    draining: bool = False
    delegate: bool = False


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something an operator may want to know of."""

    at: float
    """Unix time."""
    kind: str
    """peer, run, round, alarm, node"""
    peer: str = ""
    what: str
    detail: str = ""
    number: int = 0
    """From 1; set by the log that keeps it."""


class DrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    """announcing, draining, drained, timeout"""
    messages: int = 0
    packets: int = 0


class EndToEnd(msgspec.Struct, frozen=True, kw_only=True):
    hops: int
    bits: float
    """Estimated entropy of who sent a delivered message."""
    of_bits: float
    """With perfect mixing."""


class LoopsMeasured(msgspec.Struct, frozen=True, kw_only=True):
    sent: int
    returned: int
    lost: int
    loss: float | None
    """Of the latest loops; None while too few are settled."""
    alarm: bool


class EpochStatus(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    ends_in_seconds: float
    accepted: list[int]
    replay_tags: int
    replay_bytes: int
    replay_false_positive_rate: float
    replay_expected_false_positives: float
    """Fresh packets refused as replays since the start, by keys that are gone too: on average, at most."""


class MixingMeasured(msgspec.Struct, frozen=True, kw_only=True):
    entropy_bits: float
    """Of departures by the strategy in force; 0.0 before the first."""
    mixed: int
    """Packets that departed by it."""
    mean_entropy_bits: float
    """Of all of them."""
    end_to_end: list[EndToEnd]
    send_rate_per_second: float
    loop_rate_per_second: float
    drop_rate_per_second: float
    cover_forgone: int
    loops: LoopsMeasured
    epoch: EpochStatus


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    peer_id: str
    address: str
    state: str
    since_seconds: float
    outbound: str
    inbound: str
    link_rtt_seconds: float
    queue_depth: int
    epoch: int
    loop_quality: float | None
    version: int = 0
    software: str = ""
    clock_skew_seconds: float | None = None
    damped: bool = False
    run_id: str = ""
    contributes_from: int = 0
    other_model: bool = False
    loop_excess_seconds: float | None = None


class RoundResult(msgspec.Struct, frozen=True, kw_only=True):
    """One closed round of a run, on one peer."""

    round: int
    train_seconds: float = 0.0
    exchange_seconds: float = 0.0
    """First fragment handed to delivery until the round closed."""
    round_seconds: float = 0.0
    """Start of this round's training to the start of the next."""
    closed_by: str = ""
    """complete, grace, timeout"""
    cohort: int = 0
    fragments_received: int = 0
    fragments_expected: int = 0
    gave_up: int = 0
    train_loss: float = 0.0
    accuracy_local: float = 0.0
    """Of the peer's own trained model, on the shared test set."""
    accuracy: float = 0.0
    """Of the aggregated model, on the shared test set."""
    train_samples: int = 0
    test_samples: int = 0
    listened: bool = False
    """The aggregate is that of the others alone."""
    stale_fragments: int = 0
    epsilon: float | None = None
    """Spent in this run with this round's update; None without noise, or where the peer listened."""


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    spec: RunSpec
    state: str
    """starting, running, paused, finished, stopped, failed"""
    error: str = ""
    round: int = 0
    stage: str = "starting"
    cohort: int = 0
    parameters: int = 0
    fragments: int = 0
    fragments_received: int = 0
    fragments_expected: int = 0
    results: tuple[RoundResult, ...] = ()
    model_digest: str = ""
    listeners: int = 0
    announced: bool = False
    contributes_from: int = 0
    rounds_skipped: int = 0
    epsilon: float | None = None
    """Spent by this peer in this run so far, at the spec's `privacy_delta`; None without noise, or while the
    trainer still starts."""
    ended_by: str = ""
    """rounds, patience, target; empty unless it is finished"""
    payload_bytes: int = 0
    """Of a fragment's message."""


class CheckpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The model of a closed round, on disk."""

    spec: RunSpec
    round: int
    parameters: int
    sha256: str
    """Of the vector as little-endian float32, in hex."""
    accuracy: float = 0.0
    test_samples: int = 0
    """That it was measured on; 0: it was not."""
    bytes: int = 0
    best: bool = False
    """Of those of its run that are kept."""


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log, redacted."""

    number: int
    """From 1, since the start."""
    at: float
    level: str
    event: str
    fields: str
    """A JSON object."""


class LogBatch(msgspec.Struct, frozen=True, kw_only=True):
    lines: list[LogLine]
    lost: int = 0
    """Lines before these that the reader was too slow for, of any level."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the configuration in force. Values as JSON."""

    key: str
    value: str
    default: str
    origin: str
    """default, file, preset, option, runtime"""
    effect: str
    """From when on a change holds: now, next run, restart."""


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    before: str
    after: str
    effect: str


class ConfigStatus(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    """Empty where the daemon was started without one."""
    settings: list[Setting]


class ConfigChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did, or would do."""

    file: str
    """That was read or written; empty: none."""
    changed: list[SettingChange]
    """Now in force; those whose effect is `next run` with the next run."""
    waiting: list[SettingChange]
    """Need a restart: as they were."""
    notes: list[str] = []
