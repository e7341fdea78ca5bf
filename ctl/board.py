"""The progress of a run on several peers: a table that is redrawn, or lines as rounds close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean

from rich.table import Table

from ctl.render import fitting, table
from ctl.text import one_line, seconds
from peerd.pb import node_pb2, runs_pb2
from peerd.types import PacketKind

COLUMNS = ("Peer", "Round#", "Stage", "Fragments#", "Accuracy#", "Local#", "Sent#", "Forwarded#",
           "Cover#")  # fmt: skip
COVER = (PacketKind.LOOP, PacketKind.DROP, PacketKind.DUMMY)
ENDED = frozenset({"finished", "stopped", "failed"})


class Board:
    """Collects the statuses of the peers; knows what is new since the last line."""

    def __init__(self, names: Iterable[str]) -> None:
        self.runs: dict[str, runs_pb2.RunStatus | None] = dict.fromkeys(names)
        self._nodes: dict[str, node_pb2.NodeStatus] = {}
        self._told_round = 0
        self._told_state: dict[str, str] = {}

    def update_run(self, name: str, status: runs_pb2.RunStatus) -> list[str]:
        """Take a peer's status in; the lines that it gives rise to."""
        self.runs[name] = status
        return [*self._state_lines(name, status), *self._round_lines()]

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

    def _round_lines(self) -> Iterator[str]:
        """A line for every round that all peers have closed and that has not had one."""
        statuses = [status for status in self.runs.values() if status is not None]
        if not statuses or len(statuses) < len(self.runs):
            return
        rounds = statuses[0].spec.rounds
        closed = min(max((result.round for result in evaluated(status)), default=0) for status in statuses)
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
            f"{last.accuracy_local:.3f}" if last else "",
            *mixing,
        )


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
    """Accuracy and time of one round, means over all peers."""
    accuracy = [result.accuracy for result in results]
    text = f"accuracy {fmean(accuracy):.3f}"
    if len(results) > 1:
        text += f" ({min(accuracy):.3f} to {max(accuracy):.3f})"
    text += (
        f", local {fmean(r.accuracy_local for r in results):.3f}"
        f", training {seconds(fmean(r.train_seconds for r in results))}"
        f", exchange {seconds(fmean(r.exchange_seconds for r in results))}"
    )
    unusual = sorted({r.closed_by for r in results} - {"complete", ""})
    lost = sum(r.gave_up for r in results)
    if unusual:
        text += f", closed by {' and '.join(unusual)}"
    return text + (f", gave up {lost} fragments" if lost else "")


def round_rows(statuses: list[runs_pb2.RunStatus]) -> Iterator[tuple[object, ...]]:
    """Rows of ROUND_COLUMNS for every round that any peer has closed."""
    for number in sorted({result.round for status in statuses for result in evaluated(status)}):
        results = results_of(statuses, number)
        accuracy = [result.accuracy for result in results]
        yield (
            number,
            f"{fmean(accuracy):.4f}",
            f"{min(accuracy):.4f}",
            f"{max(accuracy):.4f}",
            f"{fmean(r.accuracy_local for r in results):.4f}",
            seconds(fmean(r.train_seconds for r in results)),
            seconds(fmean(r.exchange_seconds for r in results)),
            seconds(fmean(r.round_seconds for r in results)),
            "/".join(sorted({r.closed_by for r in results})),
        )


ROUND_COLUMNS = ("Round#", "Accuracy#", "min#", "max#", "Local#", "Training#", "Exchange#", "Whole#",
                 "Closed by")  # fmt: skip


def rounds_table(statuses: list[runs_pb2.RunStatus], title: str | None = None) -> Table:
    return fitting(ROUND_COLUMNS, round_rows(statuses), ("Local#", "Training#"), title)
