"""Alarms: what an operator should act on now. Each is told of when it is raised and when it is over."""

from __future__ import annotations

from typing import Any, Literal, get_args

from peerd.observe.events import EventLog

Alarm = Literal["direct", "tracing", "blending", "disk", "clock", "identity", "model", "paths"]
ALARMS: tuple[Alarm, ...] = get_args(Alarm)
DiskCause = Literal["mix_keys", "checkpoint", "models", "results", "members", "certificate", "log_file"]
"""What the disk refuses. mix_keys: with their replay tags. models, results: of rounds that are over. members:
what is known of the network."""
DISK_CAUSES: tuple[DiskCause, ...] = get_args(DiskCause)


class Alarms:
    """Told of in the log, the events, the status and the metrics."""

    def __init__(self, events: EventLog, log: Any) -> None:
        self._events = events
        self._log = log
        self._raised: dict[Alarm, set[str]] = {alarm: set() for alarm in ALARMS}

    def set(self, alarm: Alarm, raised: bool, detail: str = "", cause: DiskCause | Literal[""] = "") -> None:
        """An alarm may have several causes, each told of; it is over when none of them is left."""
        causes = self._raised[alarm]
        if (cause in causes) == raised:
            return
        (causes.add if raised else causes.discard)(cause)
        if raised:
            self._log.error("ALARM", alarm=alarm, detail=detail)
        elif causes:
            return
        else:
            self._log.warning("the alarm is over", alarm=alarm, detail=detail)
        self._events.add("alarm", f"{alarm} {'raised' if causes else 'over'}", detail=detail)

    def state(self) -> dict[str, bool]:
        """Every alarm, and whether it is raised."""
        return {alarm: bool(causes) for alarm, causes in self._raised.items()}

    def disk(self) -> dict[str, bool]:
        """Every cause of the alarm `disk`, and whether it is one now."""
        return {cause: cause in self._raised["disk"] for cause in DISK_CAUSES}
