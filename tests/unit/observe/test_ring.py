"""Lines of the log that are remembered: bounded, in order, and nobody who reads holds up who writes."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.observe import LEVELS, LogRing
from peerd.observe.ring import BATCH_LINES, MAX_LINE_BYTES
from peerd.status import LogBatch


def add(ring: LogRing, *events: str, level: str = "info", **fields: Any) -> None:
    for event in events:
        ring.add({"event": event, "level": level, "timestamp": "then", **fields})


async def read(ring: LogRing, last: int = 0, level: str = "debug") -> list[LogBatch]:
    return [batch async for batch in ring.watch(last, level, follow=False)]


def events(batches: list[LogBatch]) -> list[str]:
    return [line.event for batch in batches for line in batch.lines]


async def test_a_line_has_number_time_level_event_and_fields() -> None:
    ring = LogRing(clock=lambda: 17.5)
    add(ring, "round closed", level="warning", round=3, peers=["a"])
    ((line,),) = [batch.lines for batch in await read(ring)]
    assert (line.number, line.at, line.level, line.event) == (1, 17.5, "warning", "round closed")
    assert json.loads(line.fields) == {"round": 3, "peers": ["a"]}


async def test_the_latest_of_a_level() -> None:
    ring = LogRing()
    for number in range(6):
        add(ring, f"i{number}")
        add(ring, f"w{number}", level="warning")
    assert events(await read(ring, 3)) == ["w4", "i5", "w5"]
    assert events(await read(ring, 2, "warning")) == ["w4", "w5"]
    assert events(await read(ring, 0, "error")) == []
    assert len(events(await read(ring, 100))) == 12
    assert await read(LogRing()) == []


@given(
    st.lists(st.tuples(st.sampled_from(list(LEVELS)), st.integers(0, 300)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 2000),
    st.integers(0, 30),
    st.sampled_from(list(LEVELS)),
)
def test_it_is_bounded_and_what_it_has_is_the_newest_in_order(
    lines: list[tuple[str, int]], most: int, size: int, last: int, level: str
) -> None:
    ring = LogRing(most, size)
    for number, (name, length) in enumerate(lines, 1):
        ring.add({"event": str(number), "level": name, "text": "x" * length})
    everything = [line for batch in asyncio.run(read(ring)) for line in batch.lines]
    assert len(everything) <= most
    assert len(everything) <= 1 or sum(len(line.fields) for line in everything) <= size
    assert [line.number for line in everything] == list(
        range(len(lines) - len(everything) + 1, len(lines) + 1)
    )
    wanted = [line.event for line in everything if LEVELS[line.level] >= LEVELS[level]]
    assert events(asyncio.run(read(ring, last, level))) == (wanted[-last:] if last else wanted)


def test_a_long_line_is_cut_and_stays_json() -> None:
    ring = LogRing()
    ring.add({"event": "e", "level": "info", "text": "ü" * 100_000, "other": ["y" * 50_000] * 9})
    ring.add({"event": "f", "level": "info", **{f"name{n}": "z" for n in range(20_000)}})
    first, second = [line for batch in asyncio.run(read(ring)) for line in batch.lines]
    assert set(json.loads(first.fields)) == {"text", "other"}
    assert len(first.fields) <= MAX_LINE_BYTES
    assert second.fields == "{}"


async def test_who_follows_gets_what_comes_in_batches_from_any_thread() -> None:
    ring = LogRing()
    add(ring, "past")
    stream = ring.watch()
    assert events([await anext(stream)]) == ["past"]
    following = asyncio.create_task(anext(stream))
    writers = [threading.Thread(target=add, args=(ring, *(f"{n}-{i}" for i in range(20)))) for n in range(3)]
    await asyncio.sleep(0)
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    got = events([await following])
    while len(got) < 60:
        got += events([await anext(stream)])
    assert sorted(got) == sorted(f"{n}-{i}" for n in range(3) for i in range(20))
    for n in range(3):
        assert [one for one in got if one.startswith(f"{n}-")] == [f"{n}-{i}" for i in range(20)]
    await stream.aclose()
    assert not ring._readers


async def test_who_is_too_slow_loses_the_oldest_and_is_told_how_many() -> None:
    ring = LogRing(lines=50)
    add(ring, "first")
    stream = ring.watch()
    assert events([await anext(stream)]) == ["first"]
    add(ring, *map(str, range(200)))
    batch = await anext(stream)
    assert batch.lost == 150
    assert [line.event for line in batch.lines] == [str(n) for n in range(150, 200)]
    add(ring, "next")
    batch = await anext(stream)
    assert (batch.lost, events([batch])) == (0, ["next"])
    await stream.aclose()


async def test_a_reader_holds_one_batch_and_goes_on_where_it_was() -> None:
    ring = LogRing(lines=1000)
    add(ring, *map(str, range(300)))
    stream = ring.watch()
    sizes, got = [], []
    while len(got) < 300:
        batch = await anext(stream)
        sizes.append(len(batch.lines))
        got += events([batch])
        add(ring, "more", level="debug")
    assert max(sizes) == BATCH_LINES
    assert [one for one in got if one != "more"] == [str(n) for n in range(300)][: len(got)]
    await stream.aclose()


def test_a_reader_whose_loop_has_ended_holds_up_nobody() -> None:
    ring = LogRing()

    async def begin() -> Any:
        stream = ring.watch()
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert ring._readers
        return stream, task

    loop = asyncio.new_event_loop()
    kept = loop.run_until_complete(begin())
    loop.close()
    add(ring, "goes on")
    assert len(ring) == 1
    kept[1].cancel  # noqa: B018 - kept alive until here


@pytest.mark.parametrize("level", list(LEVELS))
async def test_a_level_lets_worse_through(level: str) -> None:
    ring = LogRing()
    for name in LEVELS:
        add(ring, name, level=name)
    assert events(await read(ring, 0, level)) == [one for one in LEVELS if LEVELS[one] >= LEVELS[level]]
