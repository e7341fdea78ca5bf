"""What signals do to a daemon, in a process that is none otherwise."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

PROGRAM = """
import asyncio, uvloop
from peerd.daemon import _on_signals

async def main():
    left = asyncio.Event()
    _on_signals(left.set)
    print("up", flush=True)
    await left.wait()
    print("leaving", flush=True)
    await asyncio.Event().wait()

uvloop.run(main())
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    yield made
    made.kill()
    made.communicate()


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_the_first_one_asks_and_the_second_ends(
    process: subprocess.Popen[str], first: signal.Signals, second: signal.Signals
) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(first)
    assert process.stdout.readline() == "leaving\n"
    process.send_signal(second)
    assert process.wait(60) == -second
