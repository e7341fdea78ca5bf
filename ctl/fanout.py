"""One call to many peers at once. A peer that fails takes nothing from the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
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
    async with Standing(endpoints, patience) as standing:
        return await standing.ask(call)


class Standing:
    """The same any number of times, over connections that stay open in between."""

    def __init__(self, endpoints: Sequence[Endpoint], patience: float) -> None:
        self._endpoints = endpoints
        self._patience = patience
        self._clients: dict[str, Client] = {}

    async def __aenter__(self) -> Standing:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients.values():
            await client.close()

    async def ask(self, call: Callable[[Client], Awaitable[T]]) -> Answers[T]:
        async def ask(endpoint: Endpoint) -> Answer[T] | Failure:
            try:
                return Answer(endpoint.name, await call(self._client(endpoint)))
            except PeerdError as error:
                return Failure(endpoint.name, error)

        results = await together(*(ask(endpoint) for endpoint in self._endpoints))
        return Answers(
            good=tuple(result for result in results if isinstance(result, Answer)),
            bad=tuple(result for result in results if isinstance(result, Failure)),
        )

    def _client(self, endpoint: Endpoint) -> Client:
        """Made when it is first asked: that can fail, and succeed another time."""
        if endpoint.name not in self._clients:
            self._clients[endpoint.name] = Client(endpoint, self._patience)
        return self._clients[endpoint.name]
