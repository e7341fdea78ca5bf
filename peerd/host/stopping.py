"""A bound on how long the daemon takes to end, whatever hangs.

What may hang is out of Python's reach: a write to a disk that does not answer holds a thread, and the
interpreter waits for its threads. So a thread of faulthandler's, in C, keeps the bound.
"""

from __future__ import annotations

import faulthandler

STANDARD_ERROR = 2


def end_within(seconds: float) -> None:
    """A process that is still there so much later ends at once, exit code 1, and says where in the code each
    of its threads is. What is on disk is as after `kill -9`: whole."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=STANDARD_ERROR)
