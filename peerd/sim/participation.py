"""A simulated peer's part in training runs: what `peerd.participation` does, on virtual time.

Also in the same order: what comes first decides who is told of what.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from peerd.addressing import Addressing
from peerd.learning import Fragment, Parcel
from peerd.learning.fragment import Vector
from peerd.membership import Roster, RunNotice, View
from peerd.sim.learner import SimRun
from peerd.sim.settings import Training
from peerd.sim.timeline import Action, Alarm
from peerd.store import Saved
from peerd.types import DropReason, PeerId, RunSpec

MESSAGE_ID_BYTES = 16


class Owner(Protocol):
    """The daemon."""

    @property
    def now(self) -> float: ...

    @property
    def rng(self) -> random.Random: ...

    @property
    def payload_bytes(self) -> int: ...

    @property
    def place(self) -> int: ...

    def wall(self) -> float: ...

    def after(self, seconds: float, action: Action) -> None: ...

    def alarm(self, ring: Action) -> Alarm: ...

    def new_collection(self) -> int: ...

    def noise(self, round_number: int, parameters: int) -> Vector: ...

    def send(self, to: PeerId, payload: bytes, round_number: int, message_id: bytes) -> None: ...

    def cancel(self, before: int | None) -> None: ...

    def say_what_run(self, run: bytes, contributes_from: int) -> None: ...

    def save_checkpoint(self, saved: Saved) -> None: ...

    def saved_checkpoint(self) -> Saved | None: ...

    def averaged(self, run: SimRun, payload: bytes, fragment: Fragment) -> None: ...

    def dropped(self, reason: DropReason, count: int = 1) -> None: ...


class SimParticipation:
    """`start` once the daemon is up; events as they come. One run at a time."""

    def __init__(
        self, me: PeerId, secret: bytes, training: Training, owner: Owner, view: View, roster: Roster
    ) -> None:
        self._me = me
        self._secret = secret
        self._training = training
        self._owner = owner
        self._view = view
        self._roster = roster
        self._started = False
        self._leaving = False
        self._joining = False
        self._done: set[str] = set()
        self._addressing: Addressing | None = None
        """The run's."""
        self.run: SimRun | None = None
        self.runs: list[SimRun] = []
        """All that this daemon has been in, the present one last."""

    # -- life -----------------------------------------------------------------

    def start(self) -> None:
        self._started = True
        saved = self._owner.saved_checkpoint()
        if saved is not None and (saved.finished or self._is_stopped(saved.spec)):
            self._done.add(saved.spec.run_id)
            saved = None
        if saved is None:
            self._consider()
            return
        self._begin(
            saved.spec,
            announced=saved.announced,
            start_round=saved.round + 1,
            initial=saved.vector if len(saved.vector) else None,
            listening=True,
        )

    def leave(self) -> None:
        """Take part in nothing from now on; what is on its way goes on."""
        self._leaving = True
        if self.run is not None:
            self.run.stop(for_good=False)
        self._owner.say_what_run(b"", 0)

    # -- what comes -----------------------------------------------------------

    def announced(self, notice: RunNotice) -> None:
        run_id = notice.spec.run_id
        if not notice.stopped:
            self._consider()
            return
        self._done.add(run_id)
        if self._started and self.run is not None and self.run.spec.run_id == run_id:
            run = self.run
            self._owner.after(0.0, lambda: self._stop(run))

    def view_changed(self) -> None:
        """Who is there, or what they take part in, has changed."""
        run, addressing = self.run, self._addressing
        if run is None or addressing is None or (run.ended and run.state != "finished"):
            self._consider()
            return
        seen = addressing.look()
        run.set_cohort(seen.contributes_from, self._other_members)
        for peer in addressing.meet(seen):
            run.appeared(peer)
        if run.ended:
            self._consider()

    def fragment(self, payload: bytes, fragment: Fragment) -> None:
        if self.run is None:
            self._owner.dropped(DropReason.WRONG_RUN)
        else:
            self.run.on_fragment(payload, fragment)

    def gave_up(self, round_number: int) -> None:
        if self.run is not None:
            self.run.gave_up(round_number)

    # -- the run's port ---------------------------------------------------------

    @property
    def now(self) -> float:
        return self._owner.now

    @property
    def rng(self) -> random.Random:
        return self._owner.rng

    @property
    def place(self) -> int:
        return self._owner.place

    def after(self, seconds: float, action: Action) -> None:
        self._owner.after(seconds, action)

    def alarm(self, ring: Action) -> Alarm:
        return self._owner.alarm(ring)

    def noise(self, round_number: int, parameters: int) -> Vector:
        return self._owner.noise(round_number, parameters)

    def dropped_fragments(self, reason: DropReason, count: int) -> None:
        self._owner.dropped(reason, count)

    def contributes(self, from_round: int) -> None:
        if self.run is not None and not self._leaving:
            self._owner.say_what_run(self.run.spec.id_bytes, from_round)

    def keep(self, run: SimRun, round_number: int, vector: Vector, *, finished: bool) -> None:
        self._owner.save_checkpoint(Saved(run.spec, round_number, vector, 0, 1, run.announced, finished))

    def averaged(self, run: SimRun, payload: bytes, fragment: Fragment) -> None:
        self._owner.averaged(run, payload, fragment)

    def run_ended(self, run: SimRun) -> None:
        if self.run is run and run.state != "finished":
            self._owner.say_what_run(b"", 0)
        self._consider()

    def _post(self, dealt: Iterable[tuple[PeerId, Sequence[Parcel]]], round_number: int) -> None:
        letters = [(peer, parcel) for peer, parcels in dealt for parcel in parcels]
        self.rng.shuffle(letters)
        for peer, parcel in letters:
            self._owner.send(peer, parcel.make(), round_number, self._message_id(peer, parcel.place))

    def _message_id(self, peer: PeerId, place: bytes) -> bytes:
        return hashlib.blake2b(place + peer, key=self._secret, digest_size=MESSAGE_ID_BYTES).digest()

    # -- joining --------------------------------------------------------------

    def _consider(self) -> None:
        """Join the newest announced run that this peer has not been in, if it may and it makes sense."""
        if not self._started or self._leaving or (self.run is not None and not self.run.ended):
            return
        for notice in self._roster.runs():
            if notice.stopped or notice.spec.run_id in self._done:
                continue
            late = self._owner.wall() > notice.issued_at + notice.join_seconds
            others = self._view.taking_part(notice.spec.id_bytes)
            if late and not any(first > 0 for _, first in others):
                continue
            self._done.add(notice.spec.run_id)
            self._owner.after(0.0, self._joins(notice.spec, late))
            return

    def _joins(self, spec: RunSpec, late: bool) -> Callable[[], None]:
        def join() -> None:
            if not self._leaving and (self.run is None or self.run.ended):
                self._begin(spec, announced=True, listening=late)

        return join

    def _begin(
        self,
        spec: RunSpec,
        *,
        announced: bool,
        start_round: int = 1,
        initial: Vector | None = None,
        listening: bool = False,
    ) -> None:
        others = [first for _, first in self._view.taking_part(spec.id_bytes)]
        self._owner.cancel(None)
        self._done.add(spec.run_id)
        addressing = Addressing(spec, self._view, self.rng, send=self._post, cancel=self._owner.cancel)
        self.run = run = SimRun(
            spec,
            self._training,
            self,
            addressing,
            self._owner.payload_bytes,
            others,
            self._other_members,
            start_round=start_round,
            initial=initial,
            listening=listening,
            announced=announced,
            collection=self._owner.new_collection(),
        )
        self._addressing = addressing
        self.runs.append(run)
        self._owner.say_what_run(spec.id_bytes, 0 if listening else start_round)
        self._owner.after(0.0, run.begin)
        self.view_changed()

    def _stop(self, run: SimRun) -> None:
        run.stop()
        if self.run is run:
            self._owner.cancel(None)

    @property
    def _other_members(self) -> int:
        return len(self._roster.members()) - 1

    def _is_stopped(self, spec: RunSpec) -> bool:
        return any(notice.stopped for notice in self._roster.runs() if notice.spec.run_id == spec.run_id)
