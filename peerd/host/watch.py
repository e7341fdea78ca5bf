"""As long as the daemon lives: signs of life for the service manager, and an eye on the limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from peerd.host.limits import Shortage
from peerd.host.manager import ServiceManager

LOOK_SECONDS = 5.0


class Watch:
    """`status`: one line on how the peer does. `shortages` are logged when they come up, once each."""

    def __init__(
        self,
        manager: ServiceManager,
        log: Any,
        *,
        status: Callable[[], str],
        shortages: Callable[[], Iterable[Shortage]],
    ) -> None:
        self._manager = manager
        self._log = log
        self._status = status
        self._shortages = shortages
        self._known: set[str] = set()

    @property
    def interval(self) -> float:
        """At most half of what the watchdog allows, as sd_watchdog_enabled(3) advises."""
        allowed = self._manager.watchdog_seconds
        return min(LOOK_SECONDS, allowed / 2) if allowed else LOOK_SECONDS

    async def run(self) -> None:
        """Until cancelled. On the event loop, so that a daemon whose loop hangs gives no sign of life."""
        while True:
            self._manager.alive(self._status())
            self._look()
            await asyncio.sleep(self.interval)

    def _look(self) -> None:
        found = {shortage.limit: shortage for shortage in self._shortages()}
        for limit in found.keys() - self._known:
            self._log.warning("a limit of this host is too low", limit=limit, detail=found[limit].detail)
        self._known = set(found)
