"""Alarms: what an operator should act on now. Each is told of when it is raised and when it is over."""

from __future__ import annotations

from typing import Any, Literal, get_args

from peerd.observe.events import EventLog

Alarm = Literal["direct", "tracing", "blending", "disk", "clock", "identity", "model", "paths"]
ALARMS: tuple[Alarm, ...] = get_args(Alarm)


class Alarms:
    """Told of in the log, the events, the status and the metrics."""

    def __init__(self, events: EventLog, log: Any) -> None:
        self._events = events
        self._log = log
        self._raised: dict[Alarm, set[str]] = {alarm: set() for alarm in ALARMS}

    def set(self, alarm: Alarm, raised: bool, detail: str = "", cause: str = "") -> None:
        """An alarm may have several causes; it is over when none of them is left."""
        causes = self._raised[alarm]
        before = bool(causes)
        (causes.add if raised else causes.discard)(cause)
        if bool(causes) == before:
            return
        if causes:
            self._log.error("ALARM", alarm=alarm, detail=detail)
        else:
            self._log.warning("the alarm is over", alarm=alarm, detail=detail)
        self._events.add("alarm", f"{alarm} {'raised' if causes else 'over'}", detail=detail)

    def state(self) -> dict[str, bool]:
        """Every alarm, and whether it is raised."""
        return {alarm: bool(causes) for alarm, causes in self._raised.items()}
