"""The asyncio shell of mix keys: rotates them by the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from peerd.clock import Clock, wall
from peerd.epochs.rotation import Rotation

LONGEST_WAIT_SECONDS = 30.0
"""The wall clock may be set at any time: it is looked at so often at least."""


class EpochDriver:
    """`start`, then `stop`. `on_change` is called when keys or epoch have changed."""

    def __init__(self, rotation: Rotation, on_change: Callable[[], None], clock: Clock = wall) -> None:
        self._rotation = rotation
        self._on_change = on_change
        self._wall = clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._rotate()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def ends_in_seconds(self) -> float:
        """Until the next epoch."""
        return self._rotation.epoch_ends(self._wall()) - self._wall()

    def _rotate(self) -> None:
        now = self._wall()
        before = self._rotation.epoch
        changed = self._rotation.update(now)
        if changed or self._rotation.epoch != before:
            self._on_change()
        wait = min(max(self._rotation.next_change(now) - now, 0.0), LONGEST_WAIT_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(wait, self._rotate)
