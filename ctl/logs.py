"""The logs of several peers as one stream: what each remembers, merged by time, then whatever comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from ctl.fanout import Answers, Failure, fan_out
from peerd.errors import PeerdError, UnavailableError
from peerd.pb import logs_pb2

OVERLAP = 200
"""Lines that are asked for once more when following begins, so that none is lost in between."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line, and the peer that logged it."""

    by: str
    line: logs_pb2.LogLine


Say = Callable[[Said], None]
Lost = Callable[[str, int], None]
"""Which peer, and how many of its lines."""


async def latest(
    endpoints: Sequence[Endpoint], last: int, level: str, patience: float
) -> Answers[list[logs_pb2.LogLine]]:
    """The last so many of each peer, 0 for all that it remembers. `patience`: seconds for each."""

    async def ask(client: Client) -> list[logs_pb2.LogLine]:
        return [line async for batch in client.logs(False, last, level) for line in batch.lines]

    return await fan_out(endpoints, ask, patience)


def merged(answers: Answers[list[logs_pb2.LogLine]], last: int) -> list[Said]:
    """The last so many of all, oldest first; what one peer logged stays in its order."""
    said = [Said(answer.name, line) for answer in answers.good for line in answer.value]
    said.sort(key=lambda one: one.line.at)
    return said[-last:] if last else said


async def follow(
    endpoints: Sequence[Endpoint],
    seen: dict[str, int],
    level: str,
    say: Say,
    lost: Lost,
    gone: Callable[[Failure], None],
) -> list[Failure]:
    """Say what comes after the lines with these numbers, by peer, until all peers are gone: each is reported
    when that happens, and the others go on."""

    async def one(endpoint: Endpoint) -> Failure:
        try:
            await _after(endpoint, seen.get(endpoint.name, 0), level, say, lost)
            raise UnavailableError(f"{endpoint.name}: the peer has ended its stream of log lines")
        except PeerdError as error:
            failure = Failure(endpoint.name, error)
            gone(failure)
            return failure

    return await together(*(one(endpoint) for endpoint in endpoints))


async def _after(endpoint: Endpoint, number: int, level: str, say: Say, lost: Lost) -> None:
    async with Client(endpoint, 0.0) as client:
        async for batch in client.logs(True, OVERLAP, level):
            if batch.lost:
                lost(endpoint.name, batch.lost)
            for line in batch.lines:
                if line.number > number:
                    say(Said(endpoint.name, line))
