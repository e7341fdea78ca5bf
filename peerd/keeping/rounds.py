"""What is kept of closed rounds, beside the event loop: their models, and the results of runs, past ones too.

To export a model, to begin a run with one, to compare runs. A disk that refuses is an alarm, and nothing else
suffers. What a peer goes on with after a crash is `RunKeeper`'s; where no models are kept, that one serves
here, too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from peerd.errors import InvalidInputError, NotFoundError, PeerdError
from peerd.keeping.keeper import Keeper
from peerd.keeping.run import RunKeeper
from peerd.learning.fragment import Vector
from peerd.learning.results import KEPT_RESULTS
from peerd.observe import Alarms, EventLog
from peerd.status import CheckpointStatus, RoundResult, RunStatus
from peerd.store import Archive, History, digest_of
from peerd.types import RunSpec

FOLDER = "runs"
_DIGITS = re.compile(r"[0-9a-f]{0,32}", re.ASCII)
T = TypeVar("T")


class RoundKeeper:
    """In `state_dir`. `keep`: as `[training] keep_checkpoints`; `run`: of the run that goes on."""

    def __init__(
        self, state_dir: Path, keep: int, run: RunKeeper, events: EventLog, alarms: Alarms, log: Any
    ) -> None:
        self._archive = Archive(state_dir / FOLDER, keep, self._put_aside)
        self._history = History(state_dir / FOLDER)
        self._run = run
        self._events = events
        self._log = log
        self._models = Keeper("checkpoints of rounds", "models", alarms)
        self._results = Keeper("results of a run", "results", alarms)
        self._earlier: tuple[str, tuple[RoundResult, ...]] = "", ()
        """Of the run that was taken up again after a restart."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._known_bad: set[str] = set()

    def set_keep(self, keep: int) -> None:
        """From the next model that is written on."""
        self._archive.keep = keep

    # -- writing --------------------------------------------------------------

    def earlier(self, run_id: str) -> tuple[RoundResult, ...]:
        """What was measured in that run before this peer was restarted."""
        try:
            results = self._history.read(run_id).results
        except PeerdError as error:
            if not isinstance(error, NotFoundError):
                self._tell(str(error))
            results = ()
        self._earlier = run_id, results
        return results

    def keep_model(self, spec: RunSpec, result: RoundResult, vector: Vector) -> None:
        """Returns at once."""
        self._loop = asyncio.get_running_loop()
        self._models.keep(
            lambda: self._archive.write(spec, result.round, vector, result.accuracy, result.test_samples)
        )

    def keep_results(self, status: RunStatus) -> None:
        """Returns at once."""
        run_id, earlier = self._earlier
        if run_id == status.spec.run_id:
            known = {result.round: result for result in (*earlier, *status.results)}
            results = tuple(known[number] for number in sorted(known))[-KEPT_RESULTS:]
            status = replace(status, results=results)
        self._results.keep(lambda: self._history.write(status))

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._models.close()
        await self._results.close()

    # -- reading --------------------------------------------------------------

    async def past(self, run_id: str) -> RunStatus:
        """By an id or its first digits. NotFoundError, InvalidInputError."""
        return await self._beside(lambda: self._history.read(_digits(run_id)))

    async def entries(self, run_id: str = "") -> list[CheckpointStatus]:
        """Of the runs whose id begins so: the run that was written to last comes last, rounds in order."""
        return await self._beside(lambda: self._find(_digits(run_id)))

    async def read(
        self, run_id: str = "", round_number: int = 0, *, best: bool = False
    ) -> tuple[CheckpointStatus, Vector]:
        """Of the newest run and round where nothing is said. One that is damaged is left aside, with one
        line, and the next older one is taken, unless that round was asked for. NotFoundError,
        InvalidInputError."""
        return await self._beside(lambda: self._read(_digits(run_id), round_number, best))

    async def initial(self, spec: RunSpec) -> Vector | None:
        """The model that a run begins with; None where this peer does not have it. InvalidInputError where it
        is of another task."""
        return await self._beside(lambda: self._initial(spec))

    def _find(self, run_id: str) -> list[CheckpointStatus]:
        found = self._archive.entries(run_id)
        own = self._own()
        if own is None or not own.spec.run_id.startswith(run_id):
            return found
        if any((one.spec.run_id, one.round) == (own.spec.run_id, own.round) for one in found):
            return found
        others = [one for one in found if one.spec.run_id != own.spec.run_id]
        same = [one for one in found if one.spec.run_id == own.spec.run_id]
        return [*others, *sorted([*same, self._measured(own)], key=lambda one: one.round)]

    def _measured(self, entry: CheckpointStatus) -> CheckpointStatus:
        """With what the results say of that round."""
        try:
            results = self._history.read(entry.spec.run_id).results
        except PeerdError:
            return entry
        for result in results:
            if result.round == entry.round:
                return replace(entry, accuracy=result.accuracy, test_samples=result.test_samples)
        return entry

    def _own(self) -> CheckpointStatus | None:
        try:
            return self._run.checkpoint.describe()
        except InvalidInputError as error:
            self._put_aside(str(error))
            return None

    def _read(self, run_id: str, round_number: int, best: bool) -> tuple[CheckpointStatus, Vector]:
        entries = self._find(run_id)
        if not entries:
            raise NotFoundError(
                f"no checkpoint of run {run_id} here" if run_id else "this peer has no checkpoints yet"
            )
        run = entries[-1].spec.run_id
        if run_id and any(entry.spec.run_id != run for entry in entries):
            raise InvalidInputError(f"run {run_id}: several runs begin so; give more digits")
        wanted = [entry for entry in entries if entry.spec.run_id == run]
        if round_number:
            named = [entry for entry in wanted if entry.round == round_number]
            if not named:
                rounds = ", ".join(str(entry.round) for entry in wanted)
                raise NotFoundError(f"run {run[:8]}: no checkpoint of round {round_number}; there: {rounds}")
            return named[0], self._vector(named[0])
        for entry in sorted(wanted, key=lambda one: (one.best if best else 0, one.round), reverse=True):
            try:
                return entry, self._vector(entry)
            except PeerdError as error:
                self._put_aside(str(error))
        raise InvalidInputError(f"run {run[:8]}: none of its checkpoints can be read; see the events")

    def _vector(self, entry: CheckpointStatus) -> Vector:
        own = self._own()
        if own is None or (own.spec.run_id, own.round) != (entry.spec.run_id, entry.round):
            return self._archive.read(entry)
        try:
            saved = self._run.checkpoint.load()
        except InvalidInputError as error:
            self._put_aside(str(error))
            return self._archive.read(entry)
        if saved is None or digest_of(saved.vector) != entry.sha256:
            return self._archive.read(entry)
        return saved.vector

    def _initial(self, spec: RunSpec) -> Vector | None:
        named = [one for one in self._find(spec.initial_run) if one.round == spec.initial_round]
        if not named:
            return None
        before = named[0].spec
        if (before.task, before.task_options) != (spec.task, spec.task_options):
            raise InvalidInputError(
                f"the checkpoint of run {before.run_id[:8]}, round {spec.initial_round}, is of task "
                f"{before.task}{_options(before)}, this run of {spec.task}{_options(spec)}"
            )
        if named[0].sha256 != spec.initial_sha256:
            self._put_aside(
                f"run {before.run_id[:8]}, round {spec.initial_round}: the checkpoint here is another model"
            )
            return None
        try:
            return self._vector(named[0])
        except PeerdError as error:
            self._put_aside(str(error))
            return None

    # -- threads --------------------------------------------------------------

    async def _beside(self, read: Callable[[], T]) -> T:
        """Who has seen a run end finds its last round here."""
        self._loop = asyncio.get_running_loop()
        await self.close()
        await self._run.close()
        return await asyncio.to_thread(read)

    def _put_aside(self, line: str) -> None:
        """From a thread. Once for each file."""
        if self._loop is not None and line not in self._known_bad:
            self._known_bad.add(line)
            self._loop.call_soon_threadsafe(self._tell, line)

    def _tell(self, line: str) -> None:
        self._log.error("a checkpoint is left aside", error=line)
        self._events.add("run", "checkpoint unreadable", detail=line)


def _digits(run_id: str) -> str:
    if not _DIGITS.fullmatch(run_id):
        raise InvalidInputError(f"run {run_id!r}: a run id is 32 hex digits, or the first of them")
    return run_id


def _options(spec: RunSpec) -> str:
    """with hidden=64"""
    said: Iterable[str] = (f"{name}={value}" for name, value in sorted(spec.task_options.items()))
    return f" with {', '.join(said)}" if spec.task_options else ""
