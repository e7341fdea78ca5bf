"""Counters of the hot path: plain integers, read by the metrics at scrape and by the status call.

`prometheus_client` takes a lock for each increment, about a microsecond; a hop has several. One
increment here is about a tenth of that.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import product

from peerd.types import DropReason, PacketKind

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds for delays and round trips."""
ROUND_BUCKETS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds for rounds and what they consist of."""
ENTROPY_BUCKETS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)
"""Upper bounds for bits of entropy."""
PEER_STATES = ("joining", "alive", "suspect", "left", "dead", "revoked")
RECORD_KINDS = ("authority", "delegation", "certificate", "revocation", "descriptor", "run", "unknown")
"""Of gossip; unknown: what could not be read."""
RECORD_OUTCOMES = ("accepted", "stale", "refused")
"""accepted: it was news; stale: known already, or older than what is known."""
CONTROL_REFUSALS = ("denied", "malformed", "busy", "failed")
"""Of control calls; see `control.refusals`."""
RECENT_SAMPLES = 4096
ENTROPY_SMOOTHING = 1 / 256
"""Weight of one departure in the moving averages."""


class Histogram:
    """Classic Prometheus buckets (cumulative at exposition); seconds, unless the bounds are others."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS_BUCKETS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, count of samples at or below it), `+Inf` last."""
        running = 0
        rows = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class Tally:
    """Every counter of one peer. Written by the node and the cores' callbacks, on one thread."""

    __slots__ = (
        "_ranked",
        "acked",
        "control_refused",
        "delivered",
        "drops",
        "entropy",
        "entropy_bits",
        "gave_up",
        "gossip_records",
        "loop_rtt",
        "loops_lost",
        "loops_returned",
        "peer_changes",
        "received",
        "recent_rtt",
        "resent",
        "rtt",
        "sent_packets",
    )

    def __init__(self) -> None:
        self.sent_packets = dict.fromkeys(PacketKind, 0)
        """Departed to a link, by kind."""
        self.drops = dict.fromkeys(DropReason, 0)
        self.received = 0
        """Packets that arrived on links, not yet looked at."""
        self.delivered = 0
        """Messages for this peer, each once."""
        self.acked = 0
        self.resent = 0
        self.gave_up = 0
        self.rtt = Histogram()
        self.loop_rtt = Histogram()
        self.loops_returned = 0
        self.loops_lost = 0
        self.entropy: dict[str, Histogram] = {}
        """Bits at departure, by strategy."""
        self.entropy_bits: dict[str, float] = {}
        """Moving average over departures, by strategy: those of one say nothing of the next."""
        self.peer_changes = dict.fromkeys(PEER_STATES, 0)
        """Changes of the view, by the state that a peer came into."""
        self.gossip_records = dict.fromkeys(product(RECORD_KINDS, RECORD_OUTCOMES), 0)
        """Records that came by gossip, by (kind, outcome)."""
        self.control_refused = dict.fromkeys(CONTROL_REFUSALS, 0)
        """Control calls, by reason."""
        self.recent_rtt: deque[float] = deque(maxlen=RECENT_SAMPLES)
        self._ranked: list[float] = []
        """The same in order, once that was asked for; empty after a new one."""

    def sent(self, kind: PacketKind) -> None:
        """A packet departed to a link."""
        self.sent_packets[kind] += 1

    def dropped(self, reason: DropReason, count: int = 1) -> None:
        self.drops[reason] += count

    def peer_changed(self, state: str) -> None:
        """A peer came into this state."""
        self.peer_changes[state] += 1

    def gossip_record(self, kind: str, outcome: str, count: int = 1) -> None:
        """Records of this kind came by gossip; a kind that is none counts as unknown."""
        self.gossip_records[kind if kind in RECORD_KINDS else "unknown", outcome] += count

    def refused(self, reason: str) -> None:
        """A control call; one of `CONTROL_REFUSALS`."""
        self.control_refused[reason] += 1

    def acknowledged(self, rtt: float) -> None:
        """A message was acknowledged `rtt` seconds after the departure of the attempt."""
        self.acked += 1
        self.rtt.observe(rtt)
        self.recent_rtt.append(rtt)
        self._ranked = []

    def loop_returned(self, rtt: float) -> None:
        self.loops_returned += 1
        self.loop_rtt.observe(rtt)

    def mixed(self, strategy: str, bits: float, count: int) -> None:
        """`count` packets departed, each with so much entropy."""
        histogram = self.entropy.get(strategy)
        if histogram is None:
            histogram = self.entropy[strategy] = Histogram(ENTROPY_BUCKETS)
        histogram.observe(bits, count)
        kept = (1.0 - ENTROPY_SMOOTHING) ** count
        self.entropy_bits[strategy] = kept * self.entropy_bits.get(strategy, bits) + (1.0 - kept) * bits

    def mixed_by(self, strategy: str) -> int:
        """Packets that departed by this strategy: those that its average has seen."""
        histogram = self.entropy.get(strategy)
        return 0 if histogram is None else sum(histogram.counts)

    def mean_entropy_bits(self, strategy: str) -> float:
        """Of all packets that departed by this strategy; 0.0 before the first."""
        histogram = self.entropy.get(strategy)
        return 0.0 if histogram is None else histogram.total / sum(histogram.counts)

    def rtt_quantile(self, q: float) -> float:
        """Of the recent samples, by nearest rank, 0 <= q <= 1; 0.0 while there is none."""
        if not self._ranked:  # several are asked for at a time, by many clients
            self._ranked = sorted(self.recent_rtt)
        return self._ranked[max(math.ceil(q * len(self._ranked)), 1) - 1] if self._ranked else 0.0
