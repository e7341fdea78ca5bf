"""The summary of a demo: what its JSON holds, computed from what the peers report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ctl.board import cover_of, evaluated, results_of
from ctl.demo.agreement import Agreement
from peerd.errors import PeerdError
from peerd.pb import node_pb2, runs_pb2

DIGITS = 6
"""Decimals of the figures."""


def summarise(
    nodes: Mapping[str, node_pb2.NodeStatus],
    runs: Mapping[str, runs_pb2.RunStatus],
    agreement: Agreement,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """One plain object, keys as documented in `peerctl demo --help`.

    `nodes` and `runs` have one entry a peer, taken after the run; `seconds` splits the wall time. Sums
    are over all peers since their start, so start-up's cover is in them.
    """
    statuses = list(runs.values())
    results = [result for status in statuses for result in status.results]
    if not results:
        raise PeerdError("no peer reports a closed round")
    first, traffic = statuses[0], [node.traffic for node in nodes.values()]
    spec = first.spec
    return {
        "peers": len(runs),
        "rounds": spec.rounds,
        "hops": max(node.hops for node in nodes.values()),
        "task": spec.task,
        "strategy": "/".join(sorted({node.strategy for node in nodes.values()})),
        "wall_seconds": _round(sum(seconds.values())),
        "round_seconds": _mean_max(result.round_seconds for result in results),
        "exchange_seconds": _mean_max(result.exchange_seconds for result in results),
        "accuracy": _accuracy(statuses),
        "model": {
            "parameters": first.parameters,
            "bytes": 4 * first.parameters,
            "fragments": first.fragments,
        },
        "packets": _packets(traffic),
        "bytes_on_links": sum(one.bytes_sent for one in traffic),
        "rtt_seconds": _round_trips(traffic),
        "cpu_seconds": {
            "daemon": _round(sum(node.cpu_seconds for node in nodes.values())),
            "trainer": _round(sum(node.trainer.cpu_seconds for node in nodes.values())),
        },
        "rss_bytes": {
            "daemon_max": max(node.rss_bytes for node in nodes.values()),
            "trainer_max": max(node.trainer.rss_bytes for node in nodes.values()),
        },
        "train_samples": max(result.train_samples for result in results),
        "test_samples": max(result.test_samples for result in results),
        "model_agreement": {
            "max_difference": None if math.isnan(agreement[0]) else agreement.max_difference,
            "identical": agreement.identical,
        },
        "seconds": {key: _round(value) for key, value in seconds.items()},
        "peers_detail": [_detail(name, nodes[name], runs[name]) for name in runs],
        "notes": notes(spec, results),
    }


def _accuracy(statuses: Sequence[runs_pb2.RunStatus]) -> dict[str, Any]:
    rounds = sorted({result.round for status in statuses for result in evaluated(status)})
    if not rounds:
        raise PeerdError("no peer has measured its aggregate")
    per_round = [fmean(r.accuracy for r in results_of(statuses, number)) for number in rounds]
    last = [result.accuracy for result in results_of(statuses, rounds[-1])]
    return {
        "per_round": [_round(value) for value in per_round],
        "final_mean": _round(fmean(last)),
        "final_min": _round(min(last)),
    }


def _packets(traffic: Sequence[node_pb2.TrafficStatus]) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for one in traffic:
        kinds.update(dict(one.packets))
        dropped.update(dict(one.dropped))
    return {
        "sent": kinds["own"],
        "forwarded": kinds["forwarded"],
        "acks": kinds["ack"],
        "cover": cover_of(kinds),
        "resent": sum(one.resent for one in traffic),
        "gave_up": sum(one.gave_up for one in traffic),
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
    }


def _round_trips(traffic: Sequence[node_pb2.TrafficStatus]) -> dict[str, float]:
    samples = sorted(sample for one in traffic for sample in one.rtt_samples)
    return {"p50": _round(quantile(samples, 0.5)), "p95": _round(quantile(samples, 0.95))}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of ascending samples, interpolated linearly between the two nearest; 0 without samples."""
    if not ordered:
        return 0.0
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def _detail(name: str, node: node_pb2.NodeStatus, run: runs_pb2.RunStatus) -> dict[str, Any]:
    results = evaluated(run)
    last = results[-1] if results else None
    return {
        "name": name,
        "state": run.state,
        "accuracy": _round(last.accuracy) if last else None,
        "accuracy_local": _round(last.accuracy_local) if last else None,
        "closed_by": [result.closed_by for result in run.results],
        "fragments_received": sum(result.fragments_received for result in run.results),
        "fragments_expected": sum(result.fragments_expected for result in run.results),
        "packets": dict(sorted(node.traffic.packets.items())),
        "gave_up": node.traffic.gave_up,
        "trainer_restarts": node.trainer.restarts,
        "cpu_seconds": {
            "daemon": _round(node.cpu_seconds), "trainer": _round(node.trainer.cpu_seconds)
        },
        "rss_bytes": {"daemon": node.rss_bytes, "trainer": node.trainer.rss_bytes},
    }  # fmt: skip


def notes(spec: runs_pb2.RunSpec, results: Sequence[runs_pb2.RoundResult]) -> list[str]:
    """What a reader of the figures should know, in sentences."""
    made = []
    if spec.samples_per_round:
        trained = max(result.train_samples for result in results)
        made.append(f"in each round every peer trains on {trained} samples, drawn anew from its own shard")
    if spec.test_samples:
        made.append(f"accuracy is measured on {spec.test_samples} test samples, in the last round on all")
    if spec.partition == "dirichlet":
        made.append(f"the labels are divided unevenly: Dirichlet({spec.alpha:g})")
    unusual = Counter(result.closed_by for result in results)
    for how in ("grace", "timeout"):
        if unusual[how]:
            made.append(f"{unusual[how]} of {len(results)} rounds on single peers closed by {how}")
    return made


def _mean_max(values: Iterable[float]) -> dict[str, float]:
    known = list(values)
    return {"mean": _round(fmean(known)), "max": _round(max(known))}


def _round(value: float) -> float:
    return round(value, DIGITS)
