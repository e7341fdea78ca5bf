"""The mixing in force on this peer: what an operator may change at runtime, and what raises an alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from peerd.clock import monotonic
from peerd.config import MixingConfig, convert
from peerd.errors import InvalidInputError
from peerd.observe import Alarms, EventLog
from peerd.presets import preset_fields
from peerd.relay import Mixnet, Pump

SHORT_SECONDS = 30.0
"""A start, and a restart of others, take less."""


class Mixing:
    """`config` is what is in force. Nothing that is queued is lost by a change."""

    def __init__(
        self,
        config: MixingConfig,
        max_hops: int,
        *,
        members: Callable[[], int],
        mixnet: Mixnet,
        pump: Pump,
        alarms: Alarms,
        events: EventLog,
        log: Any,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        """`members`: how many peers of the network are known, oneself included. `applied` is called when
        another configuration is in force."""
        self.config = config
        self._max_hops = max_hops
        self._members = members
        self._mixnet = mixnet
        self._pump = pump
        self._alarms = alarms
        self._events = events
        self._log = log
        self._applied = applied
        self._short_since: float | None = None
        check_mixing(config, max_hops)
        self._warn_of_direct_mode()

    def change(self, preset: str, changes: dict[str, Any]) -> MixingConfig:
        """Apply a preset (empty: none), then some fields; the effective whole is returned.

        InvalidInputError for what no peer, or no path of this network, can do.
        """
        merged = msgspec.to_builtins(self.config) | preset_fields(preset) | changes
        mixing = convert(merged, MixingConfig, "mixing")
        self.check(mixing)
        self.apply(mixing)
        self._log.info("mixing changed", preset=preset or None, **changes)
        self._events.add("node", "mixing changed", detail=preset or ", ".join(changes))
        return mixing

    def check(self, mixing: MixingConfig) -> None:
        """InvalidInputError for what no peer, or no path of this network, can do. Changes nothing."""
        check_mixing(mixing, self._max_hops)
        self._check_members(mixing.hops)

    def apply(self, mixing: MixingConfig) -> None:
        """One that `check` has found good; who asked for it tells of it."""
        self.config = mixing
        self._mixnet.set_mixing(mixing, monotonic())
        self._pump.wake()
        self.judge_loops()
        self._warn_of_direct_mode()
        self._applied()

    def judge_paths(self, alive: int, now: float) -> float | None:
        """Whether enough of the others are `alive` for a path: it is never shorter than it is set, so until
        then own messages wait. When to judge again, whatever comes; None: only when something changes."""
        hops, known = self.config.path_hops, self._members()
        if known == 1 or alive > hops:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        deadline = None if self._short_since is None else self._short_since + SHORT_SECONDS
        raised = deadline is not None and now >= deadline
        self._alarms.set(
            "paths",
            raised,
            f"own messages wait: {hops} hops and a recipient, and of {known - 1} others {alive} are alive",
        )
        return None if raised else deadline

    def judge_loops(self) -> None:
        loops = self._mixnet.delivery.loops
        self._alarms.set(
            "blending",
            loops.alarm,
            "loop cover stays away while links are up: a mix node or a link may be holding packets back, "
            f"or the network is overloaded; share lost: {loops.loss or 0.0:.2f}",
        )

    def _warn_of_direct_mode(self) -> None:
        detail = "DIRECT MODE: own messages go straight to their recipients: NO ANONYMITY"
        self._alarms.set("direct", self.config.direct, detail)

    def _check_members(self, hops: int) -> None:
        """Only at runtime: a peer that starts may know but one other, and hears of the rest soon."""
        members = self._members()
        if hops > members - 2:
            raise InvalidInputError(
                f"hops: {hops} mix nodes between two peers need at least {hops + 2} "
                f"enrolled peers; the network has {members}"
            )


def check_mixing(mixing: MixingConfig, max_hops: int) -> None:
    """InvalidInputError for what no peer of a network with this `max_hops` can do."""
    if mixing.hops > max_hops:
        raise InvalidInputError(f"hops: {mixing.hops} is more than the network's max_hops {max_hops}")
    if mixing.max_delay_seconds < 10 * mixing.mean_delay_seconds:
        raise InvalidInputError(
            "max_delay_seconds: must be at least ten times mean_delay_seconds, or honest packets are refused"
        )
