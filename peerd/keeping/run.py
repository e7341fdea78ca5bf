"""The checkpoint of the run that this peer takes part in: what it goes on with after a crash."""

from __future__ import annotations

import asyncio
from typing import Any

from peerd.errors import InvalidInputError
from peerd.keeping.keeper import Keeper
from peerd.learning.fragment import Vector
from peerd.observe import Alarms, EventLog
from peerd.store import Checkpoint, Releases, Saved
from peerd.types import RunSpec


class RunKeeper:
    """The checkpoint of the run that this peer takes part in, and the count of what it has released."""

    def __init__(
        self, checkpoint: Checkpoint, releases: Releases, events: EventLog, alarms: Alarms, log: Any
    ) -> None:
        self.checkpoint = checkpoint
        self._releases = releases
        self._events = events
        self._log = log
        self._keeper = Keeper("checkpoint", "checkpoint", alarms)

    def load(self) -> Saved | None:
        """None where there is none, or none that can be read, of which the operator is told."""
        try:
            return self.checkpoint.load()
        except InvalidInputError as error:
            self._log.error("the checkpoint is left aside", error=str(error))
            self._events.add("run", "checkpoint unreadable", detail=str(error))
            return None

    def save(
        self,
        spec: RunSpec,
        round_number: int,
        vector: Vector | None,
        *,
        shard: int,
        shards: int,
        announced: bool,
        finished: bool,
    ) -> None:
        """Returns at once; see `SaveRun`."""
        self._keeper.keep(
            lambda: self.checkpoint.save(
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
