"""What the daemon and its trainer process say to each other, and the memory that they share.

Small typed messages travel as JSON lines over a socket pair. Model vectors never do: they lie in an
anonymous file, one slot for each direction, so that nothing is copied through a pipe and nothing is left
behind, however either process ends. The trainer maps it; the daemon, whose memory is to stay small, reads
and writes it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from peerd.layout import Layout
from peerd.types import SHIPPED_TASKS, RunSpec

Vector = NDArray[np.float32]

MAX_LINE = 64 * 1024
"""Bytes of a message, its newline included."""
MAX_PARAMETERS = 2**28
"""Floats of a model: 1 GiB for each slot."""


FORM_BYTES = 8
"""Of the hash of a model's form."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    pass


class Begin(_Message, frozen=True, kw_only=True):
    """First message to the trainer: build the model, load the data, answer `Ready`."""

    spec: RunSpec
    shard: int
    shards: int
    threads: int
    nice: int
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    tasks: tuple[str, ...] = SHIPPED_TASKS
    """What this host's operator allows: nothing else is imported."""
    task_path: str = ""
    """A folder to import from, besides PYTHONPATH; empty: none."""
    released: int = 0
    """Updates of this run that have left this peer, or may have."""


class Train(_Message, frozen=True, kw_only=True):
    """Train the model of slot 0 for one round, leave it in slot 1, answer `Trained`."""

    round: int
    layout: Layout | None = None
    """Fragments may be said to be final before the round's training is over (`Final`). None: none may."""
    released: int = 0
    """As in `Begin`, with this one."""


class Evaluate(_Message, frozen=True, kw_only=True):
    """Measure the model of slot 0 on `samples` test samples (0: all), answer `Evaluated`. On the shared
    ones or on the held out part of the peer's own, as the spec says."""

    samples: int


class Usage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the trainer process so far."""

    cpu_seconds: float
    rss_bytes: int
    """Peak."""


class _Report(_Message, frozen=True, kw_only=True):
    """All that the trainer says carries its usage: after `kill -9` it is too late to ask."""

    usage: Usage


class Ready(_Report, frozen=True, kw_only=True):
    """The shared memory now has its size; the initial model lies in slot 1."""

    parameters: int
    epsilon: float | None = None
    """What the updates cost that `Begin` tells of; None without noise."""
    exact: int = 0
    """So many at the end must not be rounded coarsely; fewer than all."""
    form: Annotated[bytes, msgspec.Meta(min_length=FORM_BYTES, max_length=FORM_BYTES)]
    """A hash of the form of the model: of names and shapes, as the learner has them."""


class Progress(_Report, frozen=True, kw_only=True):
    """Still alive and working."""


class Final(_Report, frozen=True, kw_only=True):
    """These fragments of slot 1 are as the trained model will have them."""

    fragments: tuple[int, ...]


class Trained(_Report, frozen=True, kw_only=True):
    loss: float
    """Mean over the last epoch."""
    accuracy: float
    """Of the trained model, as `Evaluate` would measure it."""
    samples: int
    seconds: float
    epsilon: float | None = None
    """What the updates cost that `Train` tells of; None without noise."""


class Evaluated(_Report, frozen=True, kw_only=True):
    accuracy: float
    samples: int
    seconds: float


class Failed(_Report, frozen=True, kw_only=True):
    """The task cannot go on, and would fail in the same way again: one line for the user."""

    reason: str


ToTrainer = Begin | Train | Evaluate
FromTrainer = Ready | Progress | Final | Trained | Evaluated | Failed

_to_trainer: msgspec.json.Decoder[ToTrainer] = msgspec.json.Decoder(ToTrainer)
_from_trainer: msgspec.json.Decoder[FromTrainer] = msgspec.json.Decoder(FromTrainer)


def encode(message: ToTrainer | FromTrainer) -> bytes:
    """One line, newline included."""
    return msgspec.json.encode(message) + b"\n"


def decode_to_trainer(line: bytes) -> ToTrainer:
    """Raises msgspec.DecodeError."""
    return _to_trainer.decode(line)


def decode_from_trainer(line: bytes) -> FromTrainer:
    """Raises msgspec.DecodeError."""
    return _from_trainer.decode(line)


def create_memory() -> int:
    """An empty file without a name, as a descriptor to be handed to the trainer."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("peerd-model")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def size_memory(fd: int, parameters: int) -> None:
    os.ftruncate(fd, _memory_bytes(parameters))


def map_memory(fd: int, parameters: int) -> tuple[Vector, Vector]:
    """Both slots, shape (parameters,): the model going in, the model coming out.

    Raises ValueError when the file has another size: touching pages beyond its end would be fatal.
    """
    check_memory(fd, parameters)
    shared = mmap.mmap(fd, _memory_bytes(parameters))
    slots = np.frombuffer(shared, np.float32).reshape(2, parameters)
    return slots[0], slots[1]


def check_memory(fd: int, parameters: int) -> None:
    """ValueError when the file is not of the size for such models."""
    if not 0 < parameters <= MAX_PARAMETERS or os.fstat(fd).st_size != _memory_bytes(parameters):
        raise ValueError(f"the shared memory does not hold two models of {parameters} floats")


def write_model(fd: int, vector: Vector) -> None:
    """Into slot 0. OSError when there is no memory left."""
    data = np.ascontiguousarray(vector, np.float32).data.cast("B")
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], done)


def read_update(fd: int, update: Vector, where: slice) -> None:
    """That part of slot 1 into the same part of `update`, shape (parameters,). OSError when there is none."""
    into = update[where].data.cast("B")
    begin = update.nbytes + where.start * update.itemsize
    done = 0
    while done < len(into):
        read = os.preadv(fd, [into[done:]], begin + done)
        if not read:
            raise OSError("the shared memory is too short")
        done += read


def _memory_bytes(parameters: int) -> int:
    return 2 * parameters * np.dtype(np.float32).itemsize
