from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from ctl.testbed import logs


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


def test_show(tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n")
    logs.show(
        {"a": tmp_path / "a", "gone": tmp_path / "gone"}, 2, lambda name, line: lines.append((name, line))
    )
    assert lines == [("a", "2"), ("a", "3")]


async def test_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.005)
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("old\n")
    arrived: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def write(name: str, line: str) -> None:
        arrived.put_nowait((name, line))

    async with asyncio.timeout(10):
        following = asyncio.create_task(logs.follow({"a": a, "b": b}, write))
        await asyncio.sleep(0)  # the followers stand at the end of what is there
        with a.open("ab") as file:
            file.write(b"one\nhalf")
        assert await arrived.get() == ("a", "one")
        with a.open("ab") as file:
            file.write(b" whole\n")
        assert await arrived.get() == ("a", "half whole")
        b.write_bytes(b"\xff new\n")
        assert await arrived.get() == ("b", "\ufffd new")
        a.write_bytes(b"afresh\n")  # shorter than before: a new log
        assert await arrived.get() == ("a", "afresh")
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    assert arrived.empty()
