"""The run on the screen: lines for rounds, for what is made to happen, for what a peer says of others."""

from __future__ import annotations

from collections.abc import Iterable

from ctl.board import Board
from ctl.churn.director import Happened
from ctl.churn.observer import Listener
from ctl.events import Told
from ctl.text import one_line
from ctl.watch import View
from peerd.pb import node_pb2, runs_pb2

DONE = {
    "joins": "joins: its daemon starts", "there": "is there", "drains": "leaves politely: it drains first",
    "left": "has left", "killed": "crashes (kill -9)", "returns": "comes back: its daemon starts again",
    "back": "is there again", "frozen": "freezes (SIGSTOP)", "thawed": "goes on (SIGCONT)",
}  # fmt: skip
NOTED = frozenset({"suspect", "dead", "left"})
"""Of what one peer says of another; `alive` would be said by all of all."""


class Screen:
    """A `Listener` that shows what comes and passes it on. `witness`: whose opinions of others are shown."""

    def __init__(self, view: View, names: Iterable[str], witness: str, label: str, to: Listener) -> None:
        self._view = view
        self._board = Board(names)
        self._witness = witness
        self._label = label
        self._to = to
        view.draw(self._board.table)

    def status(self, name: str, life: int, status: node_pb2.NodeStatus, at: float) -> None:
        self._board.update_node(name, status)
        self._to.status(name, life, status, at)

    def run(self, name: str, status: runs_pb2.RunStatus, at: float) -> None:
        self._tell(*self._board.update_run(name, status))
        self._to.run(name, status, at)

    def event(self, told: Told) -> None:
        event = told.item
        if told.by == self._witness and event.kind == "peer" and event.what in NOTED:
            self._tell(f"    {told.by}: {one_line(event.peer)} is {event.what}")
        self._to.event(told)

    def gone(self, name: str) -> None:
        self._board.lose(name)
        self._to.gone(name)

    def happened(self, happened: Happened) -> None:
        if happened.what == "frozen":
            self._board.lose(happened.peer)  # until it says something again: the others' lines go on
        self._tell(f"  > {happened.peer} {DONE[happened.what]}, in round {happened.round}")

    def _tell(self, *lines: str) -> None:
        self._view.lines([f"{self._label}{line}" for line in lines])
