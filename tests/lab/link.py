"""One direction between two hosts: when, and whether, a frame arrives."""

from __future__ import annotations

import random

from lab.report import LinkStatus

# Between two random points the jitter moves in a straight line, for this many times its own size...
_SPAN_JITTERS = 4
# ...but at least this long (seconds), or a tiny jitter would draw a point for nearly every frame.
_SPAN_MIN = 0.002


class Link:
    """Delays frames, loses some, and carries none while it is cut. Order is always kept.

    Which frames are lost depends on the names of the hosts and the number of the frame only, so that a test
    that fails can be run again.
    """

    def __init__(self, source: str, target: str) -> None:
        self.up = True
        self.delay = self.jitter = self.loss = 0.0
        self.sent = self.delivered = self.lost = self.cut = self.refused = 0
        self._fate = random.Random(f"loss {source} {target}")
        self._points = random.Random(f"jitter {source} {target}")
        self._from = self._to = (0.0, 0.0)  # (time, jitter): the line that the jitter follows now
        self._last = 0.0

    def set(self, delay: float | None, jitter: float | None, loss: float | None) -> None:
        """Change what is not None; frames that are on their way keep their times."""
        self.delay = self.delay if delay is None else delay
        self.jitter = self.jitter if jitter is None else jitter
        self.loss = self.loss if loss is None else loss

    def arrival(self, now: float) -> float | None:
        """When a frame sent at `now` (seconds, monotonic) arrives; None: never."""
        self.sent += 1
        if not self.up:
            self.cut += 1
            return None
        if self.loss and self._fate.random() < self.loss:
            self.lost += 1
            return None
        drift = self._drift(now) if self.jitter else 0.0
        # Never before the frame ahead: what reorders packets makes TCP take delay for loss.
        self._last = max(self._last, now, now + self.delay + drift)
        return self._last

    def _drift(self, now: float) -> float:
        """By how much the delay differs at `now`: at most `jitter` either way.

        The line's slope is at most 1/2 (twice the jitter in four times the jitter), so later frames do not
        catch up with earlier ones, and the mean stays `delay` at any rate of frames. Jitter drawn anew for
        each frame and then put in order would add nearly all of itself to each delay of a dense stream.
        """
        if now >= self._to[0]:
            span = max(_SPAN_JITTERS * self.jitter, _SPAN_MIN)
            goes_on = now < self._to[0] + span and abs(self._to[1]) <= self.jitter
            self._from = self._to if goes_on else (now, self._point())
            self._to = (self._from[0] + span, self._point())
        (start, first), (end, last) = self._from, self._to
        return first + (last - first) * (now - start) / (end - start)

    def _point(self) -> float:
        return self.jitter * (2 * self._points.random() - 1)

    def status(self) -> LinkStatus:
        return LinkStatus(
            up=self.up, delay=self.delay, jitter=self.jitter, loss=self.loss,
            sent=self.sent, delivered=self.delivered, lost=self.lost, cut=self.cut, refused=self.refused,
        )  # fmt: skip
