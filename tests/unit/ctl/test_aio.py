from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from ctl import aio
from peerd.errors import ConflictError


@pytest.mark.parametrize("number", aio.ENDING)
def test_signals_end_it_in_order_and_only_once(number: signal.Signals) -> None:
    done: list[str] = []

    async def main() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                os.kill(os.getpid(), number)  # an impatient user
                await asyncio.sleep(0)
            done.append("torn down")

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        aio.run(main())
    assert done == ["torn down"]
    assert signal.getsignal(number) == before


def test_after_a_signal_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between two runs, in the middle of making a loop."""
    done: list[str] = []
    make = asyncio.new_event_loop

    def interrupted_loop() -> asyncio.AbstractEventLoop:
        os.kill(os.getpid(), signal.SIGINT)
        return make()

    async def main() -> None:
        done.append("begun")

    monkeypatch.setattr(asyncio.events, "new_event_loop", interrupted_loop)
    with pytest.raises(KeyboardInterrupt):
        aio.run(main())
    assert done == []


@pytest.mark.parametrize("closing", [True, False])
def test_a_signal_at_the_end_is_not_lost(monkeypatch: pytest.MonkeyPatch, closing: bool) -> None:
    close = asyncio.BaseEventLoop.close

    def interrupted_close(loop: asyncio.BaseEventLoop) -> None:
        if closing:
            close(loop)
        os.kill(os.getpid(), signal.SIGTERM)
        close(loop)

    async def main() -> int:
        return 7

    monkeypatch.setattr(asyncio.BaseEventLoop, "close", interrupted_close)
    with pytest.raises(KeyboardInterrupt):
        aio.run(main())


def test_results_and_errors_pass_through() -> None:
    async def give() -> int:
        return 7

    async def fail() -> None:
        raise ConflictError("taken")

    assert aio.run(give()) == 7
    with pytest.raises(ConflictError):
        aio.run(fail())


def test_uninterrupted() -> None:
    with aio.uninterrupted():
        for number in aio.ENDING:
            os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:  # pause() would miss one that another thread has been given
            pass


async def test_together_raises_the_first_error_itself_and_cancels_the_rest() -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise ConflictError("taken")

    with pytest.raises(ConflictError, match="taken"):
        await aio.together(wait(), fail())
    assert cancelled.is_set()

    async def give(value: int) -> int:
        return value

    assert await aio.together(give(1), give(2)) == [1, 2]
