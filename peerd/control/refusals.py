"""What the control API refused and why: every refusal is counted, few are logged.

Any member may call as often as it likes, and should not fill log and disk by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import structlog

from peerd.clock import Clock, monotonic
from peerd.errors import PeerdError
from peerd.link.throttle import Throttle

Reason = Literal["denied", "malformed", "busy", "failed"]
"""denied: no operator, revoked, or not in its role; malformed: no request of that kind; busy: over its
bounds; failed: an error of peerd's own."""
LOG_EVERY_SECONDS = 60.0


class Refusals:
    def __init__(
        self,
        log: Any = None,
        count: Callable[[Reason], None] = lambda _reason: None,
        clock: Clock = monotonic,
    ) -> None:
        """`log`: structlog's; `count` is told of each."""
        self._log = structlog.get_logger() if log is None else log
        self._count = count
        self._clock = clock
        self._throttle = Throttle(LOG_EVERY_SECONDS)

    @contextlib.contextmanager
    def noting(self, reason: Reason, method: str, caller: str) -> Iterator[None]:
        """Of an error that comes out of it, which goes on."""
        try:
            yield
        except PeerdError as error:
            skipped = self._noted(reason)
            if skipped is not None:
                self._log.warning(
                    "control call refused",
                    reason=reason, method=method, caller=caller, detail=str(error)[:200], skipped=skipped,
                )  # fmt: skip
            raise

    def failed(self, method: str) -> None:
        """While the error is handled: its traceback goes to the log."""
        skipped = self._noted("failed")
        if skipped is not None:
            self._log.exception("control call failed", method=method, skipped=skipped)

    def _noted(self, reason: Reason) -> int | None:
        self._count(reason)
        return self._throttle.admit(reason, self._clock())
