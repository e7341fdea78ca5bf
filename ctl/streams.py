"""What several peers tell as one stream: what each remembers, merged by time, then whatever comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ctl import aio
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, Failure, fan_out
from peerd.errors import PeerdError, UnavailableError


class Item(Protocol):
    @property
    def at(self) -> float:
        """Unix time."""

    @property
    def number(self) -> int:
        """From 1, at this peer."""


I = TypeVar("I", bound=Item)  # noqa: E741  one of a stream


@dataclass(frozen=True)  # no slots: `Told[...](...)` of a frozen class with slots is a TypeError
class Told(Generic[I]):
    """One of them, and the peer that tells it."""

    by: str
    item: I


@dataclass(frozen=True, slots=True)
class Stream(Generic[I]):
    """What a peer can be asked for."""

    name: str
    recall: Callable[[Client, int], AsyncIterator[I]]
    """The last so many, oldest first; 0: all that it remembers."""
    follow: Callable[[Client, int], AsyncIterator[I]]
    """The last so many, then what comes."""
    overlap: int
    """So many are asked for once more when following begins, that none is lost in between."""


async def latest(
    stream: Stream[I], endpoints: Sequence[Endpoint], last: int, patience: float
) -> Answers[list[I]]:
    """The last so many of each peer, 0 for all. `patience`: seconds for each."""

    async def ask(client: Client) -> list[I]:
        return [item async for item in stream.recall(client, last)]

    return await fan_out(endpoints, ask, patience)


def merged(answers: Answers[list[I]], last: int) -> list[Told[I]]:
    """The last so many of all, oldest first; what one peer tells stays in its order."""
    told = [Told(answer.name, item) for answer in answers.good for item in answer.value]
    told.sort(key=lambda one: one.item.at)
    return told[-last:] if last else told


async def after(stream: Stream[I], endpoint: Endpoint, number: int) -> AsyncIterator[I]:
    """Those later than that number. UnavailableError when the peer goes."""
    async with Client(endpoint, 0.0) as client:
        async for item in stream.follow(client, stream.overlap):
            if item.number > number:
                yield item


async def follow(
    stream: Stream[I],
    endpoints: Sequence[Endpoint],
    seen: dict[str, int],
    tell: Callable[[Told[I]], None],
    lost: Callable[[Failure], None],
) -> list[Failure]:
    """Tell what comes after these numbers, by peer, until all peers are lost: each is reported when that
    happens, and the others go on."""

    async def one(endpoint: Endpoint) -> Failure:
        try:
            async for item in after(stream, endpoint, seen.get(endpoint.name, 0)):
                tell(Told(endpoint.name, item))
            raise UnavailableError(f"{endpoint.name}: the peer has ended its stream of {stream.name}")
        except PeerdError as error:
            failure = Failure(endpoint.name, error)
            lost(failure)
            return failure

    return await aio.together(*(one(endpoint) for endpoint in endpoints))


def play(
    stream: Stream[I],
    endpoints: Sequence[Endpoint],
    last: int,
    patience: float,
    tell: Callable[[Told[I]], None],
    lost: Callable[[Failure], None],
    *,
    on: bool,
) -> int:
    """Tell the latest of all peers together, then, if it goes `on`, what comes. The exit code: that of the
    peers that were lost, 1 where they do not agree."""
    answers = aio.run(latest(stream, endpoints, last, patience))
    for told in merged(answers, last):
        tell(told)
    for failure in answers.bad:
        lost(failure)
    if not on:
        return answers.exit_code
    seen = {answer.name: max((item.number for item in answer.value), default=0) for answer in answers.good}
    there = [endpoint for endpoint in endpoints if endpoint.name in seen]
    gone = aio.run(follow(stream, there, seen, tell, lost))
    whole: Answers[I] = Answers((), (*answers.bad, *gone))
    return whole.exit_code
