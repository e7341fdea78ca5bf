"""What this peer says of itself: its descriptor, anew whenever keys, address, run or intentions change; and
what it does when somebody else speaks in its name.

Two daemons with one identity would answer each other's acknowledgements and spoil each other's keys. Each
start of a daemon is an instance of its own, and descriptors tell of it. Who hears of a later instance of
itself stops; who hears of an earlier one outbids it, so that it hears of this one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from peerd.clock import Clock, wall
from peerd.epochs import Rotation
from peerd.errors import ConflictError, PeerdError
from peerd.membership import About, Descriptor
from peerd.observe import Alarms

STEP_SECONDS = 0.001
"""Descriptors count time in milliseconds."""


class Presence:
    def __init__(
        self,
        rotation: Rotation,
        about: About,
        *,
        publish: Callable[[Descriptor], None],
        stop: Callable[[PeerdError], None],
        alarms: Alarms,
        clock: Clock = wall,
    ) -> None:
        """`publish` a new descriptor; `stop` the daemon. `about` has an instance drawn for this start."""
        self._rotation = rotation
        self._about = about
        self._publish = publish
        self._stop = stop
        self._alarms = alarms
        self._wall = clock
        self._last_version = 0
        self._up = False

    def load_keys(self) -> None:
        """Mix keys and replay tags from the disk; the first descriptor of this instance is made."""
        self._rotation.start(self._wall(), self._about, self._last_version)

    def start(self) -> None:
        """Be known."""
        self._up = True
        self._publish(self._rotation.descriptor)

    def keys_changed(self) -> None:
        self._publish(self._rotation.descriptor)

    def takes_part(self, run: bytes, contributes_from: int, model: bytes) -> None:
        """`contributes_from`: the first round with this peer's fragments, 0 while it listens, -n when it has
        finished with round n."""
        number, finished = abs(contributes_from), contributes_from < 0
        about = replace(self._about, run=run, contributes_from=number, finished=finished, model=model)
        self._say(about)

    def leaves(self) -> None:
        self._say(replace(self._about, leaving=True, run=b"", contributes_from=0, finished=False, model=b""))

    def heard(self, descriptor: Descriptor) -> None:
        """A descriptor of this peer that this instance has not made: of an earlier one, or of another."""
        self._last_version = max(self._last_version, descriptor.version)
        if not self._up:
            self._start_after(descriptor.started_at)
            return
        if descriptor.instance == self._about.instance:
            return
        own = (self._about.started_at, self._about.instance)
        if (descriptor.started_at, descriptor.instance) > own:
            self._stop(
                ConflictError(
                    "another daemon runs with this peer's keys and was started later, so this one stops; "
                    "one identity belongs to one state directory on one host"
                )
            )
            return
        detail = "an older daemon with this peer's keys is about; it stops when it hears of this one"
        self._alarms.set("identity", True, detail)
        self._rotation.outbid(descriptor.version)
        self._publish(self._rotation.descriptor)

    def _start_after(self, earlier: float) -> None:
        """An earlier life has left that on the disk: this one is later, also if the clock was set back."""
        if self._about.started_at <= earlier:
            self._about = replace(self._about, started_at=earlier + STEP_SECONDS)

    def _say(self, about: About) -> None:
        self._about = about
        if self._rotation.say(about):
            self._publish(self._rotation.descriptor)
