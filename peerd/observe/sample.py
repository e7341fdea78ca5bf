"""What the metrics ask of the node at each scrape, and the values that labels have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from peerd.status import MixingMeasured

STAGES = ("idle", "starting", "listening", "training", "exchanging", "evaluating", "paused", "done")
RUN_STATES = ("starting", "running", "paused", "finished", "stopped", "failed")
TRAINER_STATES = ("off", "starting", "idle", "busy", "dead")
TRAINER_ALIVE = ("starting", "idle", "busy")
QUEUES = ("inbox", "mix", "link", "send", "in_flight")
CLOSED_BY = ("complete", "grace", "timeout")
CERTIFICATES = ("link", "authority", "delegation")


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
    """Those of `alarms.ALARMS` that are known of; others are off."""
    mixing: MixingMeasured
    bytes_sent: int
    bytes_received: int
    links_out: int
    links_in: int
    peers: Mapping[str, int]
    """Number of peers by state."""
    queues: Mapping[str, int]
    """Depth by queue: inbox, mix, link (of the fullest one), send, in_flight."""
    queue_limits: Mapping[str, int]
    """Of the same queues."""
    round: int
    stage: str
    accuracy_local: float | None
    accuracy_aggregated: float | None
    train_loss: float | None
    daemon_cpu_seconds: float
    daemon_rss_bytes: int
    trainer_cpu_seconds: float
    trainer_rss_bytes: int
    trainer_state: str
    trainer_restarts: int
    started_at: float
    """Unix time."""
    epoch_end: float
    """Unix time at which the present epoch of the mix keys ends, or should have ended."""
    replay_filter_used: float
    """Of the fullest mix key's, 0 to 1."""
    certificates: Mapping[str, float]
    """Unix time at which each ends: `CERTIFICATES`, those that this peer has."""
    disk: tuple[int, int] | None
    """(free for this user, size), bytes of the state directory's file system; None where it does not say."""
    files: tuple[int, int] | None
    """(open, limit) file descriptors; None where the system does not say."""
    neighbours: tuple[Neighbour, ...] = ()
    members: int = 0
    """Of the network, this one included."""
    peers_damped: int = 0
    peer_losses: int = 0
    """Recent ones, of the peer that has most."""
    disk_failing: Mapping[str, bool] = {}
    """By `alarms.DISK_CAUSES`; others do not fail."""
    gossip_sent: int = 0
    """Cells."""
    gossip_received: int = 0
    clock_skew_seconds: float | None = None
    """The largest, without its sign, against the wall clocks of the neighbours; None while unmeasured."""
    run_state: str = ""
    """One of `RUN_STATES`; empty without a run."""
    fragments_received: int = 0
    """In this round."""
    fragments_expected: int = 0
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
