"""What is written beside the event loop, since an fsync may take long; and the alarm while it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from peerd.errors import InvalidInputError
from peerd.learning.fragment import Vector
from peerd.observe import Alarms, EventLog
from peerd.store import Checkpoint, Releases, Saved
from peerd.types import RunSpec


class Keeper:
    """Writes one kind of thing, one write after the other. One that fails is an alarm until one succeeds."""

    def __init__(self, what: str, alarms: Alarms) -> None:
        self._what = what
        self._alarms = alarms
        self._last: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._last is not None and not self._last.done()

    def keep(self, write: Callable[[], None], failed: Callable[[], None] = lambda: None) -> None:
        """Call `write` in a thread, when the one before has ended; then, if it raised, `failed` here."""
        self._last = asyncio.create_task(self._keep(write, failed, self._last))

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._last is not None:
            await asyncio.wait({self._last})

    async def _keep(
        self, write: Callable[[], None], failed: Callable[[], None], before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            await asyncio.to_thread(write)
        except Exception as error:  # a full disk, no memory: the next one may succeed
            self._alarms.set("disk", True, f"{self._what} not written: {error}", cause=self._what)
            failed()
        else:
            self._alarms.set("disk", False, f"{self._what} written again", cause=self._what)


class RunKeeper:
    """The checkpoint of the run that this peer takes part in, and the count of what it has released."""

    def __init__(
        self, checkpoint: Checkpoint, releases: Releases, events: EventLog, alarms: Alarms, log: Any
    ) -> None:
        self._checkpoint = checkpoint
        self._releases = releases
        self._events = events
        self._log = log
        self._keeper = Keeper("checkpoint", alarms)

    def load(self) -> Saved | None:
        """None where there is none, or none that can be read, of which the operator is told."""
        try:
            return self._checkpoint.load()
        except InvalidInputError as error:
            self._log.error("the checkpoint is left aside", error=str(error))
            self._events.add("run", "checkpoint unreadable", detail=str(error))
            return None

    def save(
        self,
        spec: RunSpec,
        round_number: int,
        vector: Vector,
        *,
        shard: int,
        shards: int,
        announced: bool,
        finished: bool,
    ) -> None:
        """Returns at once; see `SaveRun`."""
        self._keeper.keep(
            lambda: self._checkpoint.save(
                spec,
                round_number,
                vector,
                shard=shard,
                shards=shards,
                announced=announced,
                finished=finished,
            )
        )

    async def released(self, run_id: str) -> int:
        """See `Ledger`."""
        return await asyncio.to_thread(self._releases.count, run_id)

    async def release(self, run_id: str) -> int:
        return await asyncio.to_thread(self._releases.add, run_id)

    async def close(self) -> None:
        """Wait for a checkpoint that is being written."""
        await self._keeper.close()
