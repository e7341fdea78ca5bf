"""One call to many peers at once. A peer that fails takes nothing from the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from peerd.errors import PeerdError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    name: str
    value: T


@dataclass(frozen=True, slots=True)
class Failure:
    name: str
    error: PeerdError


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """In the order of the endpoints."""

    good: tuple[Answer[T], ...]
    bad: tuple[Failure, ...]

    @property
    def exit_code(self) -> int:
        """0 when all answered; the failures' own code when they agree; 1 when they do not."""
        codes = {failure.error.exit_code for failure in self.bad}
        if not codes:
            return 0
        return codes.pop() if len(codes) == 1 else 1


async def fan_out(
    endpoints: Sequence[Endpoint], call: Callable[[Client], Awaitable[T]], patience: float
) -> Answers[T]:
    """`call` on every endpoint concurrently. Only expected errors are gathered;
    others are raised. `patience`, in seconds, bounds each single call."""

    async def ask(endpoint: Endpoint) -> Answer[T] | Failure:
        try:
            async with Client(endpoint, patience) as client:
                return Answer(endpoint.name, await call(client))
        except PeerdError as error:
            return Failure(endpoint.name, error)

    results = await together(*(ask(endpoint) for endpoint in endpoints))
    return Answers(
        good=tuple(result for result in results if isinstance(result, Answer)),
        bad=tuple(result for result in results if isinstance(result, Failure)),
    )
