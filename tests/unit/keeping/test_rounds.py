"""Models and results of closed rounds, on a disk that does not always let them be written."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest
import structlog

from peerd.errors import InvalidInputError, NotFoundError
from peerd.keeping import RoundKeeper, RunKeeper
from peerd.observe import Alarms, EventLog
from peerd.status import RoundResult, RunStatus
from peerd.store import Checkpoint, Releases, digest_of
from peerd.types import RunSpec

SPEC = RunSpec(run_id="ab" * 16, task="digits-cnn", rounds=9)


def model(number: int):
    return np.full(5, number, np.float32)


def result(number: int, accuracy: float = 0.5) -> RoundResult:
    return RoundResult(round=number, accuracy=accuracy, test_samples=9)


@pytest.fixture
def events():
    return EventLog()


@pytest.fixture
def alarms(events):
    return Alarms(events, structlog.get_logger())


@pytest.fixture
def checkpoint(tmp_path):
    return Checkpoint(tmp_path / "run")


@pytest.fixture
def make(tmp_path, checkpoint, events, alarms):
    log = structlog.get_logger()
    run = RunKeeper(checkpoint, Releases(tmp_path / "releases.json"), events, alarms, log)
    return lambda keep=3: RoundKeeper(tmp_path, keep, run, events, alarms, log)


async def fill(keeper, *accuracies: float) -> None:
    for number, accuracy in enumerate(accuracies, 1):
        keeper.keep_model(SPEC, result(number, accuracy), model(number))
    await keeper.close()


async def test_the_newest_the_best_or_the_one_that_is_named(make):
    keeper = make()
    await fill(keeper, 0.9, 0.2, 0.3, 0.4)
    assert [entry.round for entry in await keeper.entries("ab")] == [1, 2, 3, 4]
    for asked, number in (((), 4), (("ab", 2), 2)):
        entry, vector = await keeper.read(*asked)
        assert (entry.round, vector.tolist()) == (number, model(number).tolist())
    best, _ = await keeper.read(best=True)
    assert best.round == 1
    with pytest.raises(NotFoundError, match="no checkpoint of round 7; there: 1, 2, 3, 4"):
        await keeper.read("ab", 7)
    with pytest.raises(NotFoundError, match="no checkpoint of run cd here"):
        await keeper.read("cd")
    with pytest.raises(InvalidInputError, match="32 hex digits"):
        await keeper.read("../etc")


async def test_a_damaged_one_is_told_of_and_the_next_older_one_serves(make, tmp_path, events):
    keeper = make()
    await fill(keeper, 0.1, 0.2, 0.3)
    path = tmp_path / "runs" / SPEC.run_id / "round-0000003.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    entry, vector = await keeper.read()
    assert (entry.round, vector.tolist()) == (2, model(2).tolist())
    with pytest.raises(InvalidInputError, match=r"round-0000003.*corrupt checkpoint: the digest"):
        await keeper.read("ab", 3)
    told = [event async for event in events.watch(0, follow=False)]
    assert [event.what for event in told] == ["checkpoint unreadable"]
    assert "round-0000003" in told[0].detail


async def test_a_disk_that_refuses_is_an_alarm_until_it_does_not(make, tmp_path, alarms):
    (tmp_path / "runs").write_bytes(b"no folder")
    keeper = make()
    await fill(keeper, 0.1)
    assert alarms.state()["disk"]
    assert {cause for cause, failing in alarms.disk().items() if failing} == {"models"}
    (tmp_path / "runs").unlink()
    await fill(keeper, 0.1, 0.2)
    assert not alarms.state()["disk"]
    assert (await keeper.read())[0].round == 2


async def test_without_models_of_rounds_the_one_against_crashes_serves(make, checkpoint):
    keeper = make(0)
    assert await keeper.entries() == []
    with pytest.raises(NotFoundError, match="no checkpoints yet"):
        await keeper.read()
    checkpoint.save(SPEC, 4, model(4), shard=0, shards=2, announced=True, finished=True)
    keeper.keep_results(RunStatus(spec=SPEC, state="finished", results=(result(4, 0.75),)))
    await fill(keeper, 0.1, 0.2)
    (entry,) = await keeper.entries()
    assert (entry.round, entry.accuracy, entry.sha256) == (4, 0.75, digest_of(model(4)))
    assert (await keeper.read("ab", 4))[1].tolist() == model(4).tolist()


async def test_the_one_against_crashes_stands_among_those_of_its_run(make, checkpoint):
    keeper = make()
    await fill(keeper, 0.1, 0.2)
    checkpoint.save(SPEC, 3, model(3), shard=0, shards=2, announced=True, finished=False)
    assert [entry.round for entry in await keeper.entries()] == [1, 2, 3]
    assert (await keeper.read())[1].tolist() == model(3).tolist()


async def test_a_damaged_one_against_crashes_hides_no_other(make, checkpoint, tmp_path, events):
    keeper = make()
    await fill(keeper, 0.1, 0.2)
    checkpoint.save(SPEC, 2, model(2), shard=0, shards=2, announced=True, finished=False)
    for path in (tmp_path / "run").glob("model-*.f32"):
        path.write_bytes(b"broken")
    entry, vector = await keeper.read("ab", 2)
    assert (entry.round, vector.tolist()) == (2, model(2).tolist())
    await asyncio.sleep(0)
    assert any("corrupt checkpoint" in event.detail for event in events.latest())


async def test_what_is_being_written_is_waited_for(make, tmp_path, checkpoint, events, alarms):
    run = RunKeeper(checkpoint, Releases(tmp_path / "releases.json"), events, alarms, structlog.get_logger())
    keeper = RoundKeeper(tmp_path, 1, run, events, alarms, structlog.get_logger())
    for number in (1, 2, 3):
        run.save(SPEC, number, model(number), shard=0, shards=2, announced=True, finished=False)
        keeper.keep_model(SPEC, result(number, number / 10), model(number))
    assert [entry.round for entry in await keeper.entries()] == [3]


async def test_what_was_measured_before_a_restart_stays(make):
    keeper = make()
    keeper.keep_results(RunStatus(spec=SPEC, state="running", results=(result(1), result(2))))
    await keeper.close()
    again = make()
    assert again.earlier(SPEC.run_id) == (result(1), result(2))
    again.keep_results(RunStatus(spec=SPEC, state="finished", results=(result(2, 0.9), result(3))))
    await again.close()
    past = await again.past("abab")
    assert [(one.round, one.accuracy) for one in past.results] == [(1, 0.5), (2, 0.9), (3, 0.5)]
    assert make().earlier("cd" * 16) == ()


# -- the model that a run begins with -----------------------------------------------------------------------


def begins(number: int, **changes) -> RunSpec:
    initial = {
        "run_id": "cd" * 16, "initial_run": SPEC.run_id, "initial_round": number,
        "initial_sha256": digest_of(model(number)),
    }  # fmt: skip
    return msgspec.structs.replace(SPEC, **initial | changes)


async def test_a_run_begins_with_the_model_that_is_named(make):
    keeper = make()
    await fill(keeper, 0.1, 0.2)
    assert (await keeper.initial(begins(1))).tolist() == model(1).tolist()
    assert await keeper.initial(begins(5)) is None
    assert await keeper.initial(begins(1, initial_run="ef" * 16)) is None


async def test_another_model_under_that_name_is_none_and_is_told_of(make, events):
    keeper = make()
    await fill(keeper, 0.1, 0.2)
    assert await keeper.initial(begins(1, initial_sha256="00" * 32)) is None
    told = [event async for event in events.watch(0, follow=False)]
    assert "round 1: the checkpoint here is another model" in told[-1].detail


async def test_a_model_of_another_task_is_refused_in_one_line(make):
    keeper = make()
    await fill(keeper, 0.1)
    with pytest.raises(InvalidInputError, match="is of task digits-cnn, this run of synthetic with step=1"):
        await keeper.initial(begins(1, task="synthetic", task_options={"step": "1"}))
    assert (await keeper.read())[0].round == 1
