"""The progress of a run on several peers: a table that is redrawn, or lines as rounds close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table

from ctl.fanout import Answer
from ctl.render import fitting, table
from ctl.text import RUN_DIGITS, epsilon_of, number_of, one_line, seconds
from peerd.pb import node_pb2, runs_pb2
from peerd.types import PacketKind

COLUMNS = ("Peer", "Round#", "Stage", "Fragments#", "Accuracy#", "Local#", "Sent#", "Forwarded#",
           "Cover#")  # fmt: skip
COVER = (PacketKind.LOOP, PacketKind.DROP, PacketKind.DUMMY)
ENDED = frozenset({"finished", "stopped", "failed"})
BEHIND = 2
"""Rounds after which a peer that is behind does not hold up the lines of the others."""


class Board:
    """Collects the statuses of the peers; knows what is new since the last line."""

    def __init__(self, names: Iterable[str]) -> None:
        self.runs: dict[str, runs_pb2.RunStatus | None] = dict.fromkeys(names)
        self._nodes: dict[str, node_pb2.NodeStatus] = {}
        self._told_round = 0
        self._told_state: dict[str, str] = {}
        self._listens: set[str] = set()

    def update_run(self, name: str, status: runs_pb2.RunStatus) -> list[str]:
        """Take a peer's status in; the lines that it gives rise to."""
        self.runs[name] = status
        return [*self._state_lines(name, status), *self._listening_lines(name, status), *self._round_lines()]

    def lose(self, name: str) -> None:
        """A peer that is not heard any more does not hold up the lines of the others."""
        self.runs.pop(name, None)

    def update_node(self, name: str, status: node_pb2.NodeStatus) -> None:
        self._nodes[name] = status

    def _state_lines(self, name: str, status: runs_pb2.RunStatus) -> Iterator[str]:
        before = self._told_state.get(name, "")
        if status.state == before:
            return
        self._told_state[name] = status.state
        if status.state == "failed":
            yield f"{name}: the run failed: {one_line(status.error)}"
        elif status.state in ("paused", "stopped") or before == "paused":
            yield f"{name}: {status.state}"

    def _listening_lines(self, name: str, status: runs_pb2.RunStatus) -> Iterator[str]:
        """Who joins late, or was away, and when it contributes."""
        if status.stage == "listening" and name not in self._listens:
            self._listens.add(name)
            yield f"{name}: listens in round {status.round}"
        elif status.stage != "listening" and name in self._listens:
            self._listens.remove(name)
            if status.contributes_from:
                yield f"{name}: contributes from round {status.contributes_from}"

    def _round_lines(self) -> Iterator[str]:
        """A line for every round that all peers have closed, or left behind, and that has not had one."""
        statuses = [status for status in self.runs.values() if status is not None]
        if not statuses or len(statuses) < len(self.runs):
            return
        rounds = statuses[0].spec.rounds
        reached = [
            max((result.round for result in evaluated(status)), default=0)
            for status in statuses
            if not _is_new(status)
        ]
        closed = max(min(reached), max(reached) - BEHIND) if reached else 0
        while self._told_round < closed:
            self._told_round += 1
            results = results_of(statuses, self._told_round)
            if results:
                yield f"round {self._told_round}/{rounds}: {round_line(results)}"

    def table(self) -> Table:
        """One row a peer: where it stands, and what its mix node has sent."""
        return table(COLUMNS, (self._row(name) for name in self.runs))

    def _row(self, name: str) -> tuple[object, ...]:
        status, node = self.runs[name], self._nodes.get(name)
        mixing = ("", "", "")
        if node is not None:
            packets = node.traffic.packets
            mixing = (
                f"{packets['own'] + packets['ack']:,}",
                f"{packets['forwarded']:,}",
                f"{cover_of(packets):,}",
            )
        if status is None:
            return (name, "", "", "", "", "", *mixing)
        last = max(evaluated(status), key=lambda result: result.round, default=None)
        return (
            name,
            f"{status.round}/{status.spec.rounds}",
            status.stage if status.state == "running" else status.state,
            f"{status.fragments_received}/{status.fragments_expected}",
            f"{last.accuracy:.3f}" if last else "",
            f"{last.accuracy_local:.3f}" if last and not last.listened else "",
            *mixing,
        )


def _is_new(status: runs_pb2.RunStatus) -> bool:
    """It joins late, and has closed no round yet."""
    waits = status.stage in ("starting", "listening") and not status.contributes_from
    return waits and not status.results


def cover_of(packets: Mapping[str, int]) -> int:
    """Packets of all kinds of cover; a daemon that does not know a kind sends none of it."""
    return sum(packets.get(kind, 0) for kind in COVER)


def evaluated(status: runs_pb2.RunStatus) -> list[runs_pb2.RoundResult]:
    """The closed rounds whose aggregate has been measured; the last one may still be at it."""
    return [result for result in status.results if result.test_samples]


def results_of(statuses: Iterable[runs_pb2.RunStatus], number: int) -> list[runs_pb2.RoundResult]:
    """What each peer reports of that round; a peer that does not have it is left out."""
    return [result for status in statuses for result in evaluated(status) if result.round == number]


def round_line(results: list[runs_pb2.RoundResult]) -> str:
    """Accuracy and time of one round, means over all peers; those of training over those that trained."""
    accuracy = [result.accuracy for result in results]
    text = f"accuracy {fmean(accuracy):.3f}"
    if len(results) > 1:
        text += f" ({min(accuracy):.3f} to {max(accuracy):.3f})"
    trained = _trained(results)
    if trained:
        text += f", local {fmean(r.accuracy_local for r in trained):.3f}"
        text += f", training {seconds(fmean(r.train_seconds for r in trained))}"
    text += f", exchange {seconds(fmean(r.exchange_seconds for r in results))}, cohort {cohort(results)}"
    text += f", epsilon {spent(results)}" if spent(results) else ""
    unusual = sorted({r.closed_by for r in results} - {"complete", ""})
    listened, lost = len(results) - len(trained), sum(r.gave_up for r in results)
    if unusual:
        text += f", closed by {' and '.join(unusual)}"
    if listened:
        text += f", {listened} listened"
    return text + (f", gave up {number_of(lost, 'fragment')}" if lost else "")


def cohort(results: Iterable[runs_pb2.RoundResult]) -> str:
    """How many contributed, oneself included; peers may see it differently."""
    sizes = sorted({result.cohort for result in results})
    return f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def spent(results: Iterable[runs_pb2.RoundResult]) -> str:
    """The most that a peer has spent by then; empty where there is no noise."""
    known = [result.epsilon for result in results if result.HasField("epsilon")]
    return epsilon_of(max(known)) if known else ""


def round_rows(statuses: list[runs_pb2.RunStatus]) -> Iterator[tuple[object, ...]]:
    """Rows of ROUND_COLUMNS for every round that any peer has closed."""
    for number in sorted({result.round for status in statuses for result in evaluated(status)}):
        results = results_of(statuses, number)
        trained = _trained(results)
        accuracy = [result.accuracy for result in results]
        yield (
            number,
            f"{fmean(accuracy):.4f}",
            f"{min(accuracy):.4f}",
            f"{max(accuracy):.4f}",
            f"{fmean(r.accuracy_local for r in trained):.4f}" if trained else "",
            seconds(fmean(r.train_seconds for r in trained)) if trained else "",
            seconds(fmean(r.exchange_seconds for r in results)),
            seconds(fmean(r.round_seconds for r in results)),
            spent(results),
            cohort(results),
            len(results) - len(trained),
            sum(r.stale_fragments for r in results),
            "/".join(sorted({r.closed_by for r in results})),
        )


def _trained(results: list[runs_pb2.RoundResult]) -> list[runs_pb2.RoundResult]:
    return [result for result in results if not result.listened]


ROUND_COLUMNS = ("Round#", "Accuracy#", "min#", "max#", "Local#", "Training#", "Exchange#", "Whole#",
                 "Epsilon#", "Cohort#", "Listened#", "Stale#", "Closed by")  # fmt: skip
SPARE = ("Local#", "Training#", "Whole#", "min#", "max#")
RARE = ("Epsilon#", "Listened#", "Stale#")
"""Left out where nobody has."""


def rounds_table(statuses: list[runs_pb2.RunStatus], title: str | None = None) -> Table:
    rows = list(round_rows(statuses))
    places = [
        place
        for place, column in enumerate(ROUND_COLUMNS)
        if column not in RARE or any(row[place] for row in rows)
    ]
    columns = [ROUND_COLUMNS[place] for place in places]
    return fitting(columns, ([row[place] for place in places] for row in rows), SPARE, title)


RUN_COLUMNS = ("Peer", "Run", "Task", "State", "Round#", "Stage", "Cohort#", "Listening#", "From#",
               "Skipped#")  # fmt: skip
RUN_SPARE = ("Task", "Listening#", "Run")


def runs_table(answers: Sequence[Answer[runs_pb2.RunStatus]]) -> Table:
    """One row a peer."""
    private = any(answer.value.HasField("epsilon") for answer in answers)
    columns = (*RUN_COLUMNS, "Epsilon#") if private else RUN_COLUMNS
    return fitting(columns, (_run_row(answer)[: len(columns)] for answer in answers), RUN_SPARE)


def _run_row(answer: Answer[runs_pb2.RunStatus]) -> tuple[object, ...]:
    status = answer.value
    return (
        answer.name,
        status.spec.run_id[:RUN_DIGITS],
        status.spec.task,
        _state(status),
        f"{status.round}/{status.spec.rounds}",
        status.stage,
        status.cohort,
        status.listeners,
        status.contributes_from or "-",
        status.rounds_skipped,
        epsilon_of(status.epsilon) if status.HasField("epsilon") else "",
    )


def _state(status: runs_pb2.RunStatus) -> str:
    """With why it failed, or ended before the last round."""
    if status.error:
        return f"{status.state}: {status.error}"
    early = status.ended_by not in ("", "rounds")
    return f"{status.state} by {status.ended_by}" if early else status.state


def runs_and_rounds(answers: Sequence[Answer[runs_pb2.RunStatus]]) -> RenderableType:
    statuses = [answer.value for answer in answers]
    title = "Rounds" if len(statuses) == 1 else "Rounds, mean over the peers"
    parts: list[RenderableType] = [runs_table(answers)]
    if any(status.results for status in statuses):
        parts += ["", rounds_table(statuses, title)]
    return Lines(*parts)
