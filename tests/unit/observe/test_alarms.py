from __future__ import annotations

import pytest
import structlog

from peerd.observe import DISK_CAUSES, Alarms, EventLog


@pytest.fixture
def events() -> EventLog:
    return EventLog()


@pytest.fixture
def alarms(events: EventLog) -> Alarms:
    return Alarms(events, structlog.get_logger())


async def told(events: EventLog) -> list[tuple[str, str]]:
    return [(event.what, event.detail) async for event in events.watch(0, follow=False)]


async def test_each_change_is_told_of_once(alarms: Alarms, events: EventLog) -> None:
    for raised in (False, True, True, False, False):
        alarms.set("clock", raised, "by how much")
        assert alarms.state()["clock"] == raised
    assert await told(events) == [("clock raised", "by how much"), ("clock over", "by how much")]


async def test_every_cause_is_told_of_and_it_is_over_with_the_last(alarms: Alarms, events: EventLog) -> None:
    """Who has been told that the log cannot be written must still hear that mix keys cannot, either."""
    alarms.set("disk", True, "the log", cause="log_file")
    alarms.set("disk", True, "keys", cause="mix_keys")
    assert alarms.disk() == dict.fromkeys(DISK_CAUSES, False) | {"log_file": True, "mix_keys": True}
    alarms.set("disk", False, "keys", cause="mix_keys")
    assert alarms.state()["disk"]
    alarms.set("disk", False, "the log", cause="log_file")
    assert not alarms.state()["disk"]
    assert not any(alarms.disk().values())
    assert await told(events) == [
        ("disk raised", "the log"),
        ("disk raised", "keys"),
        ("disk over", "the log"),
    ]
