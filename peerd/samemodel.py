"""Whether all peers of a run train the same model. Sans-IO.

A task runs code of the host that trains it, so two hosts may mean different models by one name: another
version of a file, an option that its factory takes from elsewhere. Each peer says in its descriptor of
which form its model is (`Learner.form`), and who trains another one than this peer is left out: nothing is
sent to it, nothing expected of it, and the operators of both are told. What does not change the form, such
as an activation, does not show.
"""

from __future__ import annotations

from peerd.membership import View
from peerd.observe import Alarms, EventLog
from peerd.types import PeerId, RunSpec


class SameModel:
    """Of one run at a time: `begin`, `known` once the trainer has told, `look` whenever the view changes."""

    def __init__(self, view: View, events: EventLog, alarms: Alarms) -> None:
        self._view = view
        self._events = events
        self._alarms = alarms
        self._told: set[PeerId] = set()
        self._spec: RunSpec | None = None
        self.form = b""
        """8 bytes; empty: not known yet."""

    def begin(self, spec: RunSpec) -> None:
        self.end()
        self._spec = spec

    def known(self, form: bytes) -> None:
        self.form = form
        self.look()

    def look(self) -> None:
        if self._spec is None or not self.form:
            return
        others = self._view.with_other_models(self._spec.id_bytes, self.form)
        names = sorted(self._name(peer) for peer in others)
        task = self._spec.task
        detail = (
            f"{', '.join(names)}: the code of task {task!r} makes another model there than here, so they are "
            "left out of this peer's averages; the same version of it belongs on all hosts"
        )
        for peer in sorted(set(others) - self._told):
            self._events.add("run", "other model", peer=self._name(peer), detail=detail)
        self._told |= set(others)
        self._alarms.set("model", bool(others), detail if others else "")

    def end(self) -> None:
        """The run, or this peer's part in it, is over."""
        self._spec, self.form = None, b""
        self._told.clear()
        self._alarms.set("model", False)

    def _name(self, peer: PeerId) -> str:
        descriptor = self._view.descriptor(peer)
        return peer.hex()[:8] if descriptor is None else descriptor.name
