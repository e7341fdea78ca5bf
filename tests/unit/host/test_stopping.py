from __future__ import annotations

import subprocess
import sys

HANGS = """
import threading, time
from peerd.host import end_within
end_within({seconds})
threading.Thread(target=time.sleep, args=({sleeps},)).start()  # Python waits for it
"""


def run(seconds: float, sleeps: float) -> subprocess.CompletedProcess[str]:
    code = HANGS.format(seconds=seconds, sleeps=sleeps)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_who_hangs_is_gone_and_says_where():
    done = run(0.3, 50)
    assert done.returncode == 1
    assert "Timeout (0:00:00.3" in done.stderr
    assert "in _wait_for_tstate_lock" in done.stderr or "in _shutdown" in done.stderr


def test_who_ends_in_time_says_nothing():
    done = run(50, 0.1)
    assert (done.returncode, done.stderr) == (0, "")
