"""What the churn cost, computed from the records of the two runs.

**Whom is it compared with?** With a calm run of the same seed in which all peers, those too that join late in
the other, train from the first round to the last. So the calm run has the data of everybody all the time, and
the difference in accuracy is the whole price of churn: late data, lost data and disturbed rounds. A calm run
of the survivors alone would hide what leaves with those who leave.

**How long was a dead peer waited for?** For each survivor s and each round r that it closed, at time c:

    expected   the peers that contribute to r and that s holds neither dead nor left at c
    L          from then on all expected fragments can come: the last moment at which one of the expected
               peers began to send its own, or s itself to wait. c, if one of them had not begun by then
    D          the last moment before c at which s learned of a death (its own event)

The wait after a death is c - max(D, L), where there is a D. What is left in it is the way through the mixnet,
so it is an upper bound: 0 where s waited for somebody alive, and the grace at most where a dead peer's
fragments were given up as they should. All times are of one machine's clock: D is that of the peer's own
event, c that at which the stream of its run said so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ctl.churn import Schedule
from ctl.experiment.churn.record import GONE, Record
from peerd.pb import runs_pb2

DIGITS = 6
POINT = 0.01
"""Of accuracy."""


@dataclass(frozen=True, slots=True)
class Wait:
    name: str
    round: int
    seconds: float


def waits(record: Record, survivors: Iterable[str]) -> list[Wait]:
    """After a death was known, of each survivor and round; rounds before any death are left out."""
    found = []
    for name in survivors:
        for number, result in sorted(record.results.get(name, {}).items()):
            closed = record.closed[name][number]
            death = record.last_death(name, closed)
            if death is None:
                continue
            could = max(_could_come(record, name, number, closed), closed - result.exchange_seconds)
            found.append(Wait(name, number, max(closed - max(death, could), 0.0)))
    return found


def _could_come(record: Record, name: str, number: int, closed: float) -> float:
    """L in the above."""
    latest = 0.0
    for other in record.runs:
        if other == name or not record.contributed(other, number, closed):
            continue
        if record.state(name, other, closed) in GONE:
            continue
        began = record.sent_from(other, number)
        latest = max(latest, closed if began is None else min(began, closed))
    return latest


def completed(record: Record, schedule: Schedule) -> dict[str, bool]:
    """Of each survivor: whether it closed every round, a late one every round from the first that it
    contributed to. To the end of the run, and with its own update in it."""
    done = {}
    for name in schedule.survivors:
        own = {number for number, result in record.results.get(name, {}).items() if not result.listened}
        first = 1 if name in schedule.steady else min(own, default=schedule.rounds + 1)
        finished = name in record.runs and record.runs[name].state == "finished"
        whole = first <= schedule.rounds and own >= set(range(first, schedule.rounds + 1))
        done[name] = finished and whole
    return done


def late_joiners(record: Record, schedule: Schedule) -> list[dict[str, Any]]:
    """How fast they came to the cohort's accuracy: in the second round that they contributed to."""
    found = []
    for name in schedule.late:
        results = record.results.get(name, {})
        listened = min((number for number, result in results.items() if result.listened), default=None)
        first = min((number for number, result in results.items() if not result.listened), default=None)
        second = None if first is None else min(first + 1, schedule.rounds)
        own = None if second is None else results.get(second)
        cohort = [] if second is None else accuracies(record, schedule.steady, second)
        reached = None if own is None or not cohort else own.accuracy >= fmean(cohort) - POINT
        found.append(
            {
                "name": name,
                "listened_round": listened,
                "contributes_from": first,
                "accuracy_after_two": None if own is None else rounded(own.accuracy),
                "cohort_accuracy": rounded(fmean(cohort)) if cohort else None,
                "reached": reached,
            }
        )
    return found


def accuracies(record: Record, names: Iterable[str], number: int) -> list[float]:
    """Of the aggregated model after that round, on each peer that has measured it."""
    results = [record.results.get(name, {}).get(number) for name in names]
    return [result.accuracy for result in results if result is not None and result.test_samples]


def final_accuracy(record: Record, schedule: Schedule) -> float | None:
    """Mean over all that were there at the end."""
    found = accuracies(record, schedule.finishers, schedule.rounds)
    return fmean(found) if found else None


def gave_up(record: Record) -> int:
    """Messages that no acknowledgement came for in all attempts, over all peers. To a dead peer nothing is
    given up: that is dropped as such."""
    return sum(samples[-1].gave_up for samples in record.samples.values())


def per_peer(record: Record, schedule: Schedule) -> list[dict[str, Any]]:
    return [_peer(name, record, schedule) for name in schedule.names]


def _peer(name: str, record: Record, schedule: Schedule) -> dict[str, Any]:
    results: Mapping[int, runs_pb2.RoundResult] = record.results.get(name, {})
    last = results[max(results)] if results else None
    run = record.runs.get(name)
    lives = [samples[-1] for (peer, _), samples in sorted(record.samples.items()) if peer == name]
    return {
        "name": name,
        "fate": [step.act for step in schedule.steps if step.peer == name] or ["steady"],
        "state": "" if run is None else run.state,
        "rounds_closed": sorted(results),
        "listened": sorted(number for number, result in results.items() if result.listened),
        "rounds_skipped": 0 if run is None else run.rounds_skipped,
        "closed_by": {number: result.closed_by for number, result in sorted(results.items())},
        "cohort": {number: result.cohort for number, result in sorted(results.items())},
        "accuracy": rounded(last.accuracy) if last is not None and last.test_samples else None,
        "resent": sum(life.resent for life in lives),
        "dropped_unacked": sum(sum(life.unacked.values()) for life in lives),
        "gave_up": sum(life.gave_up for life in lives),
    }


def rounded(value: float) -> float:
    return round(value, DIGITS)
