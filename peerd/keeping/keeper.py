"""Writing beside the event loop, since an fsync may take long; and the alarm while the disk refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from peerd.observe import Alarms, DiskCause


class Keeper:
    """Writes one kind of thing, one write after the other. One that fails is an alarm until one succeeds."""

    def __init__(self, what: str, cause: DiskCause, alarms: Alarms) -> None:
        self._what = what
        self._cause = cause
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
            self._alarms.set("disk", True, f"{self._what} not written: {error}", cause=self._cause)
            failed()
        else:
            self._alarms.set("disk", False, f"{self._what} written again", cause=self._cause)
