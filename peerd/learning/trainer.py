"""The trainer of one run, kept going: when its process dies, it is started again and the job is redone, if
there was one.

A job is a round's training or an evaluation; it starts from the weights that it is given, so doing it twice
gives the same, but for noise, if the spec asks for it, and for what was frozen when. Fragments that a dead
process had made final stay as they were sent; with noise nothing is sent before it is done, and what a dead
process has made was seen by nobody. After `max_restarts` deaths the run fails on this peer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from peerd.config import TrainingConfig
from peerd.layout import Layout
from peerd.learning.fragment import Vector
from peerd.learning.trainer_client import (
    EvalResult,
    OnFinal,
    TrainerClient,
    TrainerDied,
    TrainerReady,
    TrainResult,
)
from peerd.status import TrainerStatus
from peerd.types import RunSpec

Answer = TypeVar("Answer", TrainResult, EvalResult)


@dataclass(frozen=True, slots=True)
class Revive:
    """A job: to call `revive`. Nothing is left to do where the process died in a call, which has done it."""


class Trainer:
    """Calls must not overlap. Each raises TrainerDied after one death too many, TaskError as the client."""

    def __init__(
        self,
        config: TrainingConfig,
        spec: RunSpec,
        shard: int,
        shards: int,
        log: Any,
        on_restart: Callable[[], None],
        on_death: Callable[[Revive], None],
    ) -> None:
        """`on_death`: the process has ended; maybe in a pause, which may last."""
        self._config = config
        self._begin = (spec, shard, shards, 0)
        self._log = log
        self._on_restart = on_restart
        self._client = TrainerClient(
            config,
            log=lambda line: log.info("trainer", line=line),
            on_death=lambda: on_death(Revive()),
        )
        self._restarts = 0
        self._error = ""

    async def start(self, released: int = 0) -> TrainerReady:
        """`released`: how many updates of the run have left this peer before."""
        self._begin = (*self._begin[:3], released)
        return await self._started()

    async def train(
        self,
        round: int,
        vector: Vector,
        layout: Layout | None = None,
        final: OnFinal = lambda *_: None,
        *,
        released: int = 0,
    ) -> TrainResult:
        """After a death fragments may be told to be final again, with other values."""
        return await self._lasting(
            lambda: self._client.train(round, vector, layout, final, released=released)
        )

    async def evaluate(self, vector: Vector, test_samples: int) -> EvalResult:
        return await self._lasting(lambda: self._client.evaluate(vector, test_samples))

    async def revive(self) -> None:
        """Start the process again if it has died since the last job."""
        if self._client.state == "dead":
            reason = f"the trainer process died between two jobs: {self._client.obituary}"
            self._count_death(TrainerDied(reason.removesuffix(": ")))
            await self._started()

    async def close(self) -> None:
        await self._client.close()

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes so far, as last reported."""
        return self._client.cpu_seconds

    def status(self) -> TrainerStatus:
        return TrainerStatus(
            state=self._client.state,
            pid=self._client.pid or 0,
            restarts=self._restarts,
            last_error=self._error,
            cpu_seconds=self._client.cpu_seconds,
            rss_bytes=self._client.rss_bytes,
        )

    async def _lasting(self, job: Callable[[], Awaitable[Answer]]) -> Answer:
        await self.revive()
        while True:
            try:
                return await job()
            except TrainerDied as error:
                self._count_death(error)
                await self._started()

    async def _started(self) -> TrainerReady:
        while True:
            try:
                return await self._client.start(*self._begin)
            except TrainerDied as error:
                self._count_death(error)

    def _count_death(self, error: TrainerDied) -> None:
        """Tell of it; raise it again when there were too many."""
        self._error = str(error)
        self._log.warning("trainer died", error=str(error), restarts=self._restarts)
        if self._restarts >= self._config.max_restarts:
            raise error
        self._restarts += 1
        self._on_restart()
