"""What is known of the peers: their latest samples, and the rows that follow from them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from ctl.board import ENDED, evaluated
from ctl.text import one_line
from ctl.top.sample import Rates, Sample, rates
from peerd.pb import runs_pb2

HISTORY = 240
"""Rates of a peer that are remembered, for its curve."""


@dataclass(frozen=True, slots=True)
class Row:
    """One peer now. None: not known (yet)."""

    name: str
    state: str
    """up, draining, away (it does not answer), waiting (for the first answer)"""
    error: str = ""
    stage: str = ""
    round: int | None = None
    rounds: int | None = None
    fragments_received: int | None = None
    fragments_expected: int | None = None
    accuracy: float | None = None
    alive: int | None = None
    enrolled: int | None = None
    links_up: int | None = None
    links: int | None = None
    """Both directions of each, to the peers that should have them."""
    memory_bytes: int | None = None
    trainer_bytes: int | None = None
    rtt_seconds: float | None = None
    rtt_p95_seconds: float | None = None
    entropy_bits: float | None = None
    queued: int | None = None
    alarms: tuple[str, ...] = ()
    rates: Rates | None = None

    def data(self) -> dict[str, Any]:
        """Plain data, the rates among the rest."""
        found = asdict(self)
        of_time = found.pop("rates")
        empty = dict.fromkeys(Rates.__dataclass_fields__)
        found["alarms"] = list(self.alarms)
        return found | {f"{key}_per_second" if key not in CORES else key: value
                        for key, value in (of_time or empty).items()}  # fmt: skip


CORES = frozenset({"cpu", "trainer_cpu"})
"""Seconds a second have no unit."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All peers together; sums and means over those that answer."""

    network: str
    peers: int
    answering: int
    links_up: int
    links: int
    run: runs_pb2.RunStatus | None
    """Of the run that most of them take part in, as one of them sees it."""
    progress: float
    """0 to 1, the mean of its members'."""
    accuracies: tuple[float, ...]
    """The latest of each member."""
    curve: tuple[float, ...]
    """Mean accuracy by round."""
    rates: Rates | None
    memory_bytes: int
    rtt_seconds: float | None
    entropy_bits: float | None
    alarms: Mapping[str, tuple[str, ...]]
    """Which peers raise each."""


class Model:
    """Takes samples in, in whatever order peers answer."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._now: dict[str, Sample] = {}
        self._rates: dict[str, Rates | None] = {}
        self._history: dict[str, deque[float]] = {}

    def take(self, name: str, sample: Sample) -> None:
        before = self._now.get(name)
        self._now[name] = sample
        self._rates[name] = None if before is None else rates(before, sample)
        if (known := self._rates[name]) is not None:
            self._history.setdefault(name, deque(maxlen=HISTORY)).append(known.cells_out)

    def complete(self) -> bool:
        """Whether each peer has given two samples, or does not answer."""
        return all(
            (sample := self._now.get(name)) is not None
            and (sample.status is None or self._rates[name] is not None)
            for name in self.names
        )

    def sample(self, name: str) -> Sample | None:
        return self._now.get(name)

    def history(self, name: str) -> tuple[float, ...]:
        """Cells a second that it has sent, oldest first."""
        return tuple(self._history.get(name, ()))

    def rows(self) -> list[Row]:
        """In the order of the names."""
        return [row_of(name, self._now.get(name), self._rates.get(name)) for name in self.names]

    def summary(self) -> Summary:
        samples = [sample for sample in self._now.values() if sample.status is not None]
        rows = [row for row in self.rows() if row.state not in ("away", "waiting")]
        runs = _common(samples)
        flows = [row.rates for row in rows if row.rates is not None]
        networks = sorted({one_line(s.status.network) for s in samples if s.status is not None})
        return Summary(
            network=", ".join(networks),
            peers=len(self.names),
            answering=len(rows),
            links_up=sum(row.links_up or 0 for row in rows),
            links=sum(row.links or 0 for row in rows),
            run=max(runs, key=lambda run: run.round, default=None),
            progress=fmean(map(progress, runs)) if runs else 0.0,
            accuracies=tuple(value for run in runs if (value := _accuracy(run)) is not None),
            curve=_curve(runs),
            rates=_sum(flows) if flows else None,
            memory_bytes=sum((row.memory_bytes or 0) + (row.trainer_bytes or 0) for row in rows),
            rtt_seconds=_mean(row.rtt_seconds for row in rows),
            entropy_bits=_mean(row.entropy_bits for row in rows),
            alarms={
                alarm: tuple(row.name for row in rows if alarm in row.alarms)
                for alarm in sorted({alarm for row in rows for alarm in row.alarms})
            },
        )

    def data(self) -> dict[str, Any]:
        """All that is known, for programs."""
        whole = self.summary()
        told = {
            key: getattr(whole, key)
            for key in ("network", "peers", "answering", "links_up", "links", "progress", "memory_bytes",
                        "rtt_seconds", "entropy_bits")
        }  # fmt: skip
        run = {
            "run_id": whole.run.spec.run_id if whole.run else None,
            "accuracy": fmean(whole.accuracies) if whole.accuracies else None,
            "accuracy_by_round": list(whole.curve),
        }
        alarms = {alarm: list(names) for alarm, names in whole.alarms.items()}
        return {"network": told | run | {"alarms": alarms}, "peers": {r.name: r.data() for r in self.rows()}}


def row_of(name: str, sample: Sample | None, flow: Rates | None) -> Row:
    if sample is None:
        return Row(name, "waiting")
    status, run, mixing = sample.status, sample.run, sample.mixing
    if status is None:
        return Row(name, "away", error=one_line(sample.error))
    reachable = [peer for peer in sample.peers if peer.state not in ("left", "revoked")]
    traffic = status.traffic
    return Row(
        name,
        "draining" if status.draining else "up",
        stage=_stage(status.stage, status.run_state),
        round=run.round if run else None,
        rounds=run.spec.rounds if run else None,
        fragments_received=run.fragments_received if run else None,
        fragments_expected=run.fragments_expected if run else None,
        accuracy=_accuracy(run) if run else None,
        alive=status.peers_alive,
        enrolled=status.peers_enrolled,
        links_up=sum((peer.outbound == "up") + (peer.inbound == "up") for peer in reachable),
        links=2 * len(reachable),
        memory_bytes=status.rss_bytes,
        trainer_bytes=status.trainer.rss_bytes if status.trainer.pid else None,
        rtt_seconds=traffic.rtt_p50_seconds or None,
        rtt_p95_seconds=traffic.rtt_p95_seconds or None,
        entropy_bits=mixing.entropy_bits if mixing is not None and mixing.mixed else None,
        queued=traffic.in_flight + traffic.queued,
        alarms=tuple(map(one_line, status.alarms)),
        rates=flow,
    )


def progress(run: runs_pb2.RunStatus) -> float:
    """Share of the rounds that are closed, with what has come of the present one; 1 when it has finished."""
    if run.state == "finished":
        return 1.0
    part = run.fragments_received / run.fragments_expected if run.fragments_expected else 0.0
    closed = max(0, run.round - 1) + (min(1.0, part) if run.stage == "exchanging" else 0.0)
    return min(1.0, closed / run.spec.rounds) if run.spec.rounds else 0.0


def _stage(stage: str, run_state: str) -> str:
    """Of a run that goes on; else how it ended."""
    return one_line(stage if run_state in ("", "running") else run_state)


def _accuracy(run: runs_pb2.RunStatus) -> float | None:
    last = max(evaluated(run), key=lambda result: result.round, default=None)
    return None if last is None else last.accuracy


def _common(samples: Iterable[Sample]) -> list[runs_pb2.RunStatus]:
    """The run of most peers, as each of them sees it; one that goes on before one that has ended."""
    runs = [sample.run for sample in samples if sample.run is not None]
    counts = Counter((run.state not in ENDED, run.spec.run_id) for run in runs)
    if not counts:
        return []
    (_, chosen), _ = max(counts.items(), key=lambda item: (item[0][0], item[1], item[0][1]))
    return [run for run in runs if run.spec.run_id == chosen]


def _curve(runs: Iterable[runs_pb2.RunStatus]) -> tuple[float, ...]:
    by_round: dict[int, list[float]] = {}
    for run in runs:
        for result in evaluated(run):
            by_round.setdefault(result.round, []).append(result.accuracy)
    return tuple(fmean(by_round[number]) for number in sorted(by_round))


def _sum(flows: Iterable[Rates]) -> Rates:
    known = list(flows)
    return Rates(*(sum(getattr(flow, key) for flow in known) for key in Rates.__dataclass_fields__))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
