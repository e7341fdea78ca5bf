"""A model out of a peer's checkpoints, into a file of named tensors.

The peer streams a vector; it is checked against the digest that the peer named first, and a child process,
which knows the task, gives the tensors their names. The file appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ctl import tasks
from ctl.client import Client
from peerd.errors import ConflictError, InvalidInputError, NotFoundError, PeerdError, UnavailableError
from peerd.pb import runs_pb2
from peerd.types import RunSpec

IDLE_SECONDS = 60.0
"""Without a part; before the first the peer reads the whole model."""
MAX_BYTES = 1 << 30
"""Of a vector; no trainer makes a larger one."""


@dataclass(frozen=True, slots=True)
class Exported:
    checkpoint: runs_pb2.Checkpoint
    tensors: dict[str, list[int]]
    """Names and shapes."""


def check_target(path: Path, force: bool) -> None:
    """Before anything is asked for. NotFoundError, ConflictError, InvalidInputError."""
    if not path.parent.is_dir():
        raise NotFoundError(f"{path.parent}: no such folder")
    if path.is_dir():
        raise InvalidInputError(f"{path}: a folder; name a file in it")
    if path.exists() and not force:
        raise ConflictError(f"{path} exists; --force overwrites it")


async def fetch(client: Client, run_id: str, round_number: int, best: bool, folder: Path) -> Fetched:
    """Into a file in `folder`. PeerdError where what comes is not what was said."""
    path = folder / "vector"
    parts = client.export(run_id, round_number, best)
    try:
        with path.open("wb") as file:
            first = await _next(parts, client)
            if first is None or not first.HasField("checkpoint"):
                raise _wrong(client, "it does not say what it sends")
            size = 4 * first.checkpoint.parameters
            if not 0 < size <= MAX_BYTES:
                raise _wrong(client, f"a model of {first.checkpoint.parameters} floats")
            digest = await _receive(client, parts, file, size)
    finally:
        await parts.aclose()  # type: ignore[attr-defined]
    if digest != first.checkpoint.sha256:
        raise _wrong(client, "the digest does not match")
    return Fetched(first.checkpoint, path)


@dataclass(frozen=True, slots=True)
class Fetched:
    checkpoint: runs_pb2.Checkpoint
    path: Path


async def _receive(
    client: Client, parts: AsyncIterator[runs_pb2.ExportPart], file: BinaryIO, size: int
) -> str:
    """Exactly so many bytes; their SHA-256."""
    digest = hashlib.sha256()
    while (part := await _next(parts, client)) is not None:
        size -= len(part.data)
        if size < 0:
            raise _wrong(client, "more comes than was said")
        digest.update(part.data)
        file.write(part.data)
    if size:
        raise _wrong(client, f"{size} bytes are missing")
    return digest.hexdigest()


async def _next(parts: AsyncIterator[runs_pb2.ExportPart], client: Client) -> runs_pb2.ExportPart | None:
    try:
        return await asyncio.wait_for(anext(parts), IDLE_SECONDS)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        raise UnavailableError(f"{client.endpoint.name}: nothing has come for {IDLE_SECONDS:.0f} s") from None


def _wrong(client: Client, why: str) -> PeerdError:
    return PeerdError(f"{client.endpoint.name}: the model is not what was announced: {why}")


def write(fetched: Fetched, spec: RunSpec, target: Path, form: str, task_path: str, force: bool) -> Exported:
    """As named tensors, beside it and then in one step into its place."""
    checkpoint = fetched.checkpoint
    said = {
        "run_id": spec.run_id,
        "round": str(checkpoint.round),
        "task": spec.task,
        "accuracy": repr(checkpoint.accuracy),
        "test_samples": str(checkpoint.test_samples),
        "sha256": checkpoint.sha256,
    }
    made = fetched.path.with_name("model")
    tensors = tasks.write_model(spec, fetched.path, made, form, said, task_path)
    with made.open("rb") as file:
        os.fsync(file.fileno())
    check_target(target, force)  # that took a while
    made.chmod(0o600)
    made.replace(target)
    return Exported(checkpoint, tensors)


def beside(target: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder of one's own on the same file system."""
    return tempfile.TemporaryDirectory(dir=target.parent, prefix=".peerctl-export-")
