"""The events of several peers as one stream: what each remembers, merged by time, then whatever comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, Failure, fan_out
from peerd.errors import PeerdError, UnavailableError
from peerd.pb import node_pb2

OVERLAP = 100
"""Events that are asked for once more when following begins, so that none is lost in between."""


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the peer that tells it."""

    by: str
    event: node_pb2.Event


Tell = Callable[[Told], None]


async def latest(endpoints: Sequence[Endpoint], last: int, patience: float) -> Answers[list[node_pb2.Event]]:
    """The last so many of each peer, 0 for all that it remembers. `patience`: seconds for each."""

    async def ask(client: Client) -> list[node_pb2.Event]:
        return [event async for event in client.events(follow=False, last=last)]

    return await fan_out(endpoints, ask, patience)


def merged(answers: Answers[list[node_pb2.Event]], last: int) -> list[Told]:
    """The last so many of all, oldest first; what one peer tells stays in its order."""
    told = [Told(answer.name, event) for answer in answers.good for event in answer.value]
    told.sort(key=lambda one: one.event.at)
    return told[-last:] if last else told


async def follow(
    endpoints: Sequence[Endpoint], seen: dict[str, int], tell: Tell, lost: Callable[[Failure], None]
) -> list[Failure]:
    """Tell what comes after the events with these numbers, by peer, until all peers are lost: each is
    reported when that happens, and the others go on."""

    async def one(endpoint: Endpoint) -> Failure:
        try:
            async for event in after(endpoint, seen.get(endpoint.name, 0)):
                tell(Told(endpoint.name, event))
            raise UnavailableError(f"{endpoint.name}: the peer has ended its stream of events")
        except PeerdError as error:
            failure = Failure(endpoint.name, error)
            lost(failure)
            return failure

    return await together(*(one(endpoint) for endpoint in endpoints))


async def after(endpoint: Endpoint, number: int) -> AsyncIterator[node_pb2.Event]:
    """Events later than that number. UnavailableError when the peer goes."""
    async with Client(endpoint, 0.0) as client:
        async for event in client.events(follow=True, last=OVERLAP):
            if event.number > number:
                yield event
