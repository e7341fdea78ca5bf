"""What is written beside the loop, on a disk that does not always let it."""

from __future__ import annotations

import numpy as np
import pytest
import structlog

from peerd.keeping import RunKeeper
from peerd.observe import Alarms, EventLog
from peerd.store import Checkpoint, Releases
from peerd.types import RunSpec

SPEC = RunSpec(run_id="ab" * 16, task="digits-cnn")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def events():
    return EventLog()


@pytest.fixture
def alarms(events):
    return Alarms(events, structlog.get_logger())


@pytest.fixture
def keeper(folder, events, alarms):
    releases = Releases(folder.parent / "releases.json")
    return RunKeeper(Checkpoint(folder), releases, events, alarms, structlog.get_logger())


async def save(keeper, number: int) -> None:
    keeper.save(SPEC, number, np.ones(3, np.float32), shard=0, shards=2, announced=True, finished=False)
    await keeper.close()


async def told(events) -> list[str]:
    return [event.what async for event in events.watch(0, follow=False)]


async def test_what_was_saved_is_there(keeper):
    assert keeper.load() is None
    await save(keeper, 1)
    await save(keeper, 2)
    saved = keeper.load()
    assert (saved.spec, saved.round, saved.vector.tolist()) == (SPEC, 2, [1.0, 1.0, 1.0])


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 50, b"{" * 1000])
async def test_what_cannot_be_read_is_left_aside_and_told(keeper, folder, events, data):
    await save(keeper, 1)
    (folder / "run.json").write_bytes(data)
    assert keeper.load() is None
    assert await told(events) == ["checkpoint unreadable"]


async def test_a_disk_that_refuses_is_an_alarm_until_it_does_not(keeper, folder, alarms):
    folder.write_bytes(b"no folder")
    await save(keeper, 1)
    assert alarms.state()["disk"]
    folder.unlink()
    await save(keeper, 2)
    assert not alarms.state()["disk"]
    assert keeper.load().round == 2


async def test_what_was_released_is_counted_beside_the_checkpoint(keeper, folder):
    assert await keeper.released(SPEC.run_id) == 0
    assert [await keeper.release(SPEC.run_id) for _ in range(2)] == [1, 2]
    await save(keeper, 1)  # which clears away what is left over
    assert await keeper.released(SPEC.run_id) == 2
