"""What the page shows, made of what peers answered: a table of them, what goes for all, and curves.

Each peer is asked by itself, so that one which does not answer shows as that, beside the others' present
state. Strings of peers are cleaned of control characters here, and shown as text there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from ctl.board import ENDED
from ctl.dashboard.curves import History, Point, accuracy_curve
from ctl.text import one_line
from peerd.pb import mixing_pb2, node_pb2, runs_pb2

RATE_SECONDS = 6.0
"""Rates are means over about so long."""
LONGEST_TEXT = 400


class Look(NamedTuple):
    """One peer's answers."""

    status: node_pb2.NodeStatus
    config: mixing_pb2.MixingConfig
    measured: mixing_pb2.MixingMeasured
    run: runs_pb2.RunStatus | None
    """None: it has not been in any."""


class _Counter(NamedTuple):
    at: float
    uptime: float
    bytes: int
    cpu: float


@dataclass(slots=True)
class _Peer:
    look: Look | None = None
    error: str = ""
    heard: float = 0.0
    counters: list[_Counter] = field(default_factory=list)

    def rate(self, what: str) -> float | None:
        """A second; None before there are two looks."""
        if len(self.counters) < 2:
            return None
        first, last = self.counters[0], self.counters[-1]
        past: float = getattr(last, what) - getattr(first, what)
        return past / max(last.uptime - first.uptime, 0.1)


class Network:
    """Fed by `heard` and `failed`, with the time in seconds on a clock that does not jump."""

    def __init__(self, names: Iterable[str]) -> None:
        self._peers = {name: _Peer() for name in names}
        self._history = History()
        self.version = 0
        """Grows with every change."""

    @property
    def names(self) -> list[str]:
        return list(self._peers)

    def heard(self, name: str, look: Look, now: float) -> None:
        peer = self._peers[name]
        status = look.status
        counter = _Counter(
            now,
            status.uptime_seconds,
            status.traffic.bytes_sent,
            status.cpu_seconds + status.trainer.cpu_seconds,
        )
        if peer.counters and counter.uptime < peer.counters[-1].uptime:
            peer.counters.clear()  # another life of the daemon
        recent = [one for one in peer.counters if now - one.at <= RATE_SECONDS]
        peer.counters = [*recent, counter]
        peer.look, peer.error, peer.heard = look, "", now
        self.version += 1

    def failed(self, name: str, error: str, now: float) -> None:
        peer = self._peers[name]
        peer.error = _text(error)
        peer.counters.clear()
        self.version += 1

    def sample(self, now: float) -> None:
        """Add to the curves over time how those stand who answer."""
        traffic = [peer.look.status.traffic for peer in self._answering()]
        p50 = [one.rtt_p50_seconds for one in traffic if one.rtt_p50_seconds]
        p95 = [one.rtt_p95_seconds for one in traffic if one.rtt_p95_seconds]
        entropy = [peer.look.measured.entropy_bits for peer in self._answering() if peer.look.measured.mixed]
        self._history.add(Point(now, _middle(p50), _middle(p95), _spread(entropy)))
        self.version += 1

    def _answering(self) -> list[Any]:
        return [peer for peer in self._peers.values() if peer.look is not None and not peer.error]

    def snapshot(self, now: float) -> dict[str, Any]:
        """Plain data, fit for JSON."""
        peers = [_row(name, peer, now) for name, peer in self._peers.items()]
        runs = [peer.look.run for peer in self._answering() if peer.look.run is not None]
        networks = {_text(peer.look.status.network) for peer in self._answering()}
        return {
            "version": self.version,
            "networks": sorted(networks),
            "peers": peers,
            "run": _run(runs),
            "accuracy": accuracy_curve(_of_one_run(runs)),
            "history": self._history.since(now),
            "mixing": {name: _config(peer.look.config) for name, peer in self._peers.items() if peer.look},
        }


def _row(name: str, peer: _Peer, now: float) -> dict[str, Any]:
    row: dict[str, Any] = {"name": _text(name), "error": peer.error, "known": peer.look is not None}
    if peer.look is None:
        return row
    status, config, measured, run = peer.look
    last = None if run is None else next((r for r in reversed(run.results) if r.test_samples), None)
    epsilon = run.epsilon if run is not None and run.HasField("epsilon") else None
    return row | {
        "heard_seconds_ago": now - peer.heard,
        "version": _text(status.version),
        "uptime_seconds": status.uptime_seconds,
        "alarms": [_text(alarm) for alarm in status.alarms],
        "draining": status.draining,
        "peers_alive": status.peers_alive,
        "peers_enrolled": status.peers_enrolled,
        "run_state": _text(status.run_state),
        "run_error": "" if run is None else _text(run.error),
        "stage": _text(status.stage),
        "round": status.round,
        "fragments": None if run is None else [run.fragments_received, run.fragments_expected],
        "accuracy": None if last is None else _finite(last.accuracy),
        "epsilon": epsilon,
        "strategy": _text(config.strategy),
        "hops": 0 if config.direct else config.hops,
        "rtt_p50_seconds": status.traffic.rtt_p50_seconds or None,
        "rtt_p95_seconds": status.traffic.rtt_p95_seconds or None,
        "entropy_bits": measured.entropy_bits if measured.mixed else None,
        "loop_loss": measured.loops.loss if measured.loops.HasField("loss") else None,
        "epoch": status.epoch,
        "bytes_per_second": peer.rate("bytes"),
        "cpu_share": peer.rate("cpu"),
        "rss_bytes": status.rss_bytes,
        "trainer": _text(status.trainer.state),
        "gave_up": status.traffic.gave_up,
    }


def _of_one_run(runs: Sequence[runs_pb2.RunStatus]) -> list[runs_pb2.RunStatus]:
    """Those of the run that goes on, or that most are in: curves of different runs do not mix."""
    ids = [run.spec.run_id for run in runs if run.state not in ENDED] or [run.spec.run_id for run in runs]
    return [run for run in runs if run.spec.run_id == max(ids, key=ids.count)]


def _run(runs: Sequence[runs_pb2.RunStatus]) -> dict[str, Any] | None:
    """What goes for all that are in it."""
    same = _of_one_run(runs)
    if not same:
        return None
    states = [_text(run.state) for run in same]
    going = [state for state in states if state not in ENDED]
    spec = same[0].spec
    closed = [max((r.round for r in run.results if r.test_samples), default=0) for run in same]
    return {
        "run_id": _text(spec.run_id),
        "task": _text(spec.task),
        "state": max(going or states, key=(going or states).count),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "round": max(run.round for run in same),
        "closed": int(median(closed)),
        "rounds": spec.rounds,
        "peers": len(same),
        "announced": any(run.announced for run in same),
        "ended_by": _text(same[0].ended_by),
        "partition": _text(spec.partition),
        "aggregator": _text(spec.aggregator),
        "encoding": _text(spec.encoding),
    }


def _config(config: mixing_pb2.MixingConfig) -> dict[str, Any]:
    plain = {one.name: getattr(config, one.name) for one in config.DESCRIPTOR.fields}
    return {name: _text(value) if isinstance(value, str) else value for name, value in plain.items()}


def _text(said: str) -> str:
    """One line, and no more of it than a page has room for."""
    line = one_line(said)
    return line if len(line) <= LONGEST_TEXT else f"{line[:LONGEST_TEXT]}..."


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _spread(values: Sequence[float]) -> tuple[float, float, float] | None:
    return (min(values), median(values), max(values)) if values else None


def _finite(value: float) -> float | None:
    return value if -float("inf") < value < float("inf") else None
