"""The health service itself, without a server."""

from __future__ import annotations

import asyncio

import pytest
from grpc_health.v1 import health_pb2

from peerd.control.health import Health
from peerd.errors import NotFoundError

Answer = health_pb2.HealthCheckResponse


def ask(service=""):
    return health_pb2.HealthCheckRequest(service=service)


async def test_it_serves_when_it_is_told_so():
    health = Health(["a.B"])
    for serving, status in ((None, Answer.NOT_SERVING), (True, Answer.SERVING), (False, Answer.NOT_SERVING)):
        if serving is not None:
            health.set(serving=serving)
        for service in ("", "a.B"):
            assert (await health.Check(ask(service), None)).status == status
        listed = await health.List(health_pb2.HealthListRequest(), None)
        assert {name: one.status for name, one in listed.statuses.items()} == {"": status, "a.B": status}
    with pytest.raises(NotFoundError, match=r"no such service; there are: a\.B"):
        await health.Check(ask("x"), None)


async def test_watchers_are_told_at_once_and_of_each_change():
    health = Health(["a.B"])
    known, unknown = health.Watch(ask("a.B"), None), health.Watch(ask("x"), None)
    assert (await anext(known)).status == Answer.NOT_SERVING
    assert (await anext(unknown)).status == Answer.SERVICE_UNKNOWN
    following = asyncio.create_task(anext(known))
    health.set(serving=True)
    assert (await asyncio.wait_for(following, 5)).status == Answer.SERVING
