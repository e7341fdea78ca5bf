"""The daemon's side of the trainer process: starts it, gives it one job at a time, notices its end.

Whatever happens to the trainer (killed, out of memory, hung, stopped), the daemon sees `TrainerDied` and
goes on relaying; starting it again is the caller's decision. The other way round, the trainer ends when
its end of the socket closes, so none outlives its daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np

import peerd
from peerd.config import TrainingConfig
from peerd.errors import InvalidInputError, UnavailableError
from peerd.layout import Layout, spans
from peerd.trainerproto import (
    MAX_LINE,
    Begin,
    Evaluate,
    Evaluated,
    Failed,
    Final,
    FromTrainer,
    Progress,
    Ready,
    ToTrainer,
    Train,
    Trained,
    Vector,
    check_memory,
    create_memory,
    decode_from_trainer,
    encode,
    read_update,
    write_model,
)
from peerd.types import RunSpec

TrainerState = Literal["off", "starting", "idle", "busy", "dead"]

OnFinal = Callable[[Sequence[int], Vector], None]
"""Of fragments that training will not change any more, and the vector that holds them."""

EXIT_SECONDS = 5.0
"""For a process that is ending anyway."""
LOG_LINES = 200
"""Of one process's standard error that are passed on; the rest is read and thrown away."""
LOG_LINE_BYTES = 500


class TrainerDied(UnavailableError):  # noqa: N818 - it is what happened, as in the state
    """The process ended, hung, or spoke nonsense. Starting it again may help."""


class TaskError(InvalidInputError):
    """The trainer says that the task cannot go on: bad data, diverged. Starting it again won't help."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainerReady:
    parameters: int
    initial: Vector
    """Shape (parameters,); the same on every peer of the run."""
    epsilon: float | None = None
    """Spent before; None without noise."""
    exact: int = 0
    """Of the parameters, so many at the end must not be rounded coarsely."""
    form: bytes = b""
    """8 bytes, see `Learner.form`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainResult:
    update: Vector
    """The trained model, shape (parameters,), finite; bounded and noised as the spec says."""
    loss: float
    accuracy: float
    """Of that model, on the shared test set."""
    samples: int
    cpu_seconds: float
    seconds: float
    epsilon: float | None = None
    """Spent with this update; None without noise."""


@dataclass(frozen=True, slots=True)
class EvalResult:
    accuracy: float
    samples: int
    cpu_seconds: float
    seconds: float


@dataclass(slots=True, eq=False)
class _Child:
    """One process with its end of everything."""

    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    memory: int
    tasks: list[asyncio.Task[None]]
    parameters: int = 0
    """0 until it is ready."""
    cpu_seconds: float = 0.0
    last_words: str = ""


Reply = TypeVar("Reply", Ready, Trained, Evaluated)


class TrainerClient:
    """Calls must not overlap. Every call may raise TrainerDied; when cancelled, it ends the process."""

    def __init__(
        self,
        config: TrainingConfig,
        log: Callable[[str], None] = lambda line: None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_death`: the process has ended by itself, between two jobs or in one."""
        self._config = config
        self._log = log
        self._on_death = on_death
        self._child: _Child | None = None
        self._ended_cpu_seconds = 0.0
        self.state: TrainerState = "off"
        self.rss_bytes = 0
        """Peak of any of its processes, as last reported."""

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.process.pid

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes so far, as last reported."""
        return self._ended_cpu_seconds + (self._child.cpu_seconds if self._child else 0.0)

    @property
    def obituary(self) -> str:
        """How the process ended that is dead now; empty where that is not known any more."""
        return "" if self.state != "dead" or self._child is None else _obituary(self._child)

    # -- calls ----------------------------------------------------------------

    async def start(self, spec: RunSpec, shard: int, shards: int, released: int = 0) -> TrainerReady:
        """A new process, the earlier one ended. It takes part `shard` of `shards` of the data. `released`:
        how many updates of the run have left this peer before.

        Raises TaskError when the data cannot be used.
        """
        await self.close()
        self.state = "starting"
        try:
            child = await self._spawn()
        except OSError as error:
            self.state = "dead"
            raise TrainerDied(f"the trainer process could not be started: {error}") from None
        begin = Begin(
            spec=spec,
            shard=shard,
            shards=shards,
            threads=self._config.threads,
            nice=self._config.nice,
            device=self._config.device,
            tasks=self._config.tasks,
            task_path=self._config.task_path,
            released=released,
        )
        try:
            async with asyncio.timeout(self._config.start_timeout_seconds):
                ready = await self._ask(child, begin, Ready)
        except TimeoutError:
            raise await self._died(child, "it took too long to start") from None
        try:
            check_memory(child.memory, ready.parameters)
            initial = np.empty(ready.parameters, np.float32)
            read_update(child.memory, initial, slice(0, ready.parameters))
        except (ValueError, OSError) as error:
            raise await self._died(child, str(error)) from None
        child.parameters = ready.parameters
        return TrainerReady(ready.parameters, initial, ready.epsilon, ready.exact, ready.form)

    async def train(
        self,
        round: int,
        vector: Vector,
        layout: Layout | None = None,
        final: OnFinal = lambda *_: None,
        *,
        released: int = 0,
    ) -> TrainResult:
        """One round of training that begins with `vector`. Raises TaskError when it diverges.

        `layout`: fragments of it that are final before training is over are told to `final`, with the vector
        that they lie in. `released`: updates that have left this peer, if this one does, too.
        """
        child = self._idle_child(vector)
        update = np.empty_like(vector)

        def take(fragments: Sequence[int]) -> None:
            assert layout is not None
            for where in spans(layout, fragments):
                read_update(child.memory, update, where)
            final(fragments, update)

        job = Train(round=round, layout=layout, released=released)
        reply = await self._ask(child, job, Trained, take if layout else None)
        read_update(child.memory, update, slice(0, len(update)))
        return TrainResult(
            update,
            reply.loss,
            reply.accuracy,
            reply.samples,
            reply.usage.cpu_seconds,
            reply.seconds,
            reply.epsilon,
        )

    async def evaluate(self, vector: Vector, test_samples: int) -> EvalResult:
        """Accuracy of `vector` on that many of the shared test samples; 0: on all."""
        child = self._idle_child(vector)
        reply = await self._ask(child, Evaluate(samples=test_samples), Evaluated)
        return EvalResult(reply.accuracy, reply.samples, reply.usage.cpu_seconds, reply.seconds)

    async def close(self) -> None:
        """End the process; it has nothing to save. Idempotent."""
        child, self._child = self._child, None
        self.state = "off"
        if child is not None:
            await self._end(child)

    # -- process --------------------------------------------------------------

    async def _spawn(self) -> _Child:
        """Descriptors that the child inherits are named on its command line; ours stay ours."""
        memory = create_memory()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the working directory is not a place to import from
                    "-m",
                    "peerd.training",
                    str(theirs.fileno()),
                    str(memory),
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=PIPE,
                    pass_fds=(theirs.fileno(), memory),
                    env=_environment(self._config.threads),
                    start_new_session=True,  # Ctrl-C on a terminal is for the daemon
                )
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE)
        except BaseException:
            os.close(memory)
            ours.close()
            raise
        child = _Child(process, reader, writer, memory, [])
        child.tasks.append(asyncio.create_task(self._read_log(child), name="trainer-log"))
        child.tasks.append(asyncio.create_task(self._watch(child), name="trainer-watch"))
        self._child = child
        return child

    async def _watch(self, child: _Child) -> None:
        """A trainer that dies between two jobs is noticed at once, not at the next job."""
        await child.process.wait()
        if self._child is child:
            self.state = "dead"
            self._on_death()

    async def _read_log(self, child: _Child) -> None:
        """Standard error, line by line, as long as the process lives; too much of it is cut off."""
        stream = child.process.stderr
        lines, rest = 0, b""
        while stream is not None and (chunk := await stream.read(4096)):
            *complete, rest = (rest + chunk).split(b"\n")
            rest = rest[:LOG_LINE_BYTES]
            for line in filter(None, complete):
                child.last_words = line[:LOG_LINE_BYTES].decode("utf-8", "replace")
                lines += 1
                if lines <= LOG_LINES:
                    self._log(child.last_words)

    async def _end(self, child: _Child) -> None:
        """Kill, reap, and let go of everything."""
        self._ended_cpu_seconds += child.cpu_seconds
        child.cpu_seconds = 0.0
        with contextlib.suppress(ProcessLookupError):
            child.process.kill()
        try:
            await child.process.wait()
            await asyncio.wait(child.tasks, timeout=EXIT_SECONDS)
        finally:
            for task in child.tasks:
                task.cancel()
            child.writer.close()
            os.close(child.memory)

    async def _died(self, child: _Child, reason: str = "") -> TrainerDied:
        """The error to raise, after the process is surely gone."""
        if self._child is child:
            self._child = None
            await self._end(child)
        self.state = "dead"
        return TrainerDied(f"the trainer process died: {reason or _obituary(child)}")

    # -- talk -----------------------------------------------------------------

    def _idle_child(self, vector: Vector) -> _Child:
        child = self._child
        if child is None or self.state == "dead" or not child.parameters:
            self.state = "dead" if self.state == "dead" else "off"
            raise TrainerDied("the trainer process is not running")
        if self.state != "idle":
            raise RuntimeError("the trainer does one job at a time")
        if vector.shape != (child.parameters,):
            raise ValueError(f"the model has {child.parameters} floats, not {vector.shape}")
        write_model(child.memory, vector)
        return child

    async def _ask(
        self,
        child: _Child,
        message: ToTrainer,
        kind: type[Reply],
        final: Callable[[Sequence[int]], None] | None = None,
    ) -> Reply:
        """Send, and wait for the answer, however long, as long as progress is reported."""
        if self.state != "starting":
            self.state = "busy"
        try:
            child.writer.write(encode(message))
            reply = await self._next(child)
            while isinstance(reply, Progress) or (isinstance(reply, Final) and final is not None):
                if isinstance(reply, Final) and final is not None:
                    final(reply.fragments)
                reply = await self._next(child)
        except TimeoutError:
            hung = f"it said nothing for {self._config.hang_timeout_seconds:g} seconds"
            raise await self._died(child, hung) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            with contextlib.suppress(TimeoutError):  # it closed its end; let it exit by itself
                await asyncio.wait_for(child.process.wait(), EXIT_SECONDS)
            raise await self._died(child) from None
        except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
            raise await self._died(child, f"it spoke nonsense: {error}") from None
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
            raise
        if isinstance(reply, Failed):
            await self.close()
            raise TaskError(reply.reason)
        if not isinstance(reply, kind):
            raise await self._died(child, f"it answered {type(reply).__name__}")
        self.state = "idle"
        return reply

    async def _next(self, child: _Child) -> FromTrainer:
        starting = self.state == "starting"  # which has its own limit
        async with asyncio.timeout(None if starting else self._config.hang_timeout_seconds):
            line = await child.reader.readuntil(b"\n")
        message = decode_from_trainer(line)
        child.cpu_seconds = message.usage.cpu_seconds
        self.rss_bytes = max(self.rss_bytes, message.usage.rss_bytes)
        return message


def _environment(threads: int) -> dict[str, str]:
    """Ours, with the thread pools bounded before any library starts one, and peerd importable also
    where it runs from a source tree."""
    house = str(Path(peerd.__file__).parent.parent)
    paths = [house, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }


def _obituary(child: _Child) -> str:
    """How it ended, with the last line it wrote to standard error, which often says why."""
    code = child.process.returncode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    return f"exit code {code}" + (f": {child.last_words}" if child.last_words else "")
