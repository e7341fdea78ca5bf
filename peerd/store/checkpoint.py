"""The last aggregated model of a run, with the run's spec and round: one folder, written atomically.

    run.json    spec, round, shard, whether announced and finished; number of floats, SHA-256 of the vector
    model-N.f32 the vector: little-endian float32, nothing else

There are two names for vector files and run.json says which one holds. A save writes the other one
first, so that a crash at any moment leaves the earlier pair or the new one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError, NotFoundError
from peerd.reading import read_bounded
from peerd.status import CheckpointStatus
from peerd.store.files import write_atomic
from peerd.types import RunSpec

Vector = NDArray[np.float32]
MAX_VECTOR_BYTES = 1 << 32
_MAX_RECORD_BYTES = 1 << 20
_RECORD_FILE = "run.json"
_VECTOR_FILES = ("model-0.f32", "model-1.f32")


Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    spec: RunSpec
    round: Natural
    shard: Natural
    shards: Natural
    announced: bool
    finished: bool
    parameters: Natural
    sha256: str
    file: str


class Saved(NamedTuple):
    spec: RunSpec
    round: int
    """The last closed one; 0 before the first."""
    vector: Vector
    """Its aggregate; empty while that is the trainer's initial model."""
    shard: int
    shards: int
    """This peer's part of shared data: `shard` of `shards`, for the whole run."""
    announced: bool
    """By an operator, to all peers."""
    finished: bool
    """There is nothing to go on with."""


class Checkpoint:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(
        self,
        spec: RunSpec,
        round_number: int,
        vector: Vector | None,
        *,
        shard: int,
        shards: int,
        announced: bool,
        finished: bool,
    ) -> None:
        """Replace the checkpoint; without a vector only say of the one that is there whether it is finished,
        if it is of that run. OSError when the disk refuses; the earlier one is then intact."""
        if vector is None:
            self._mark(spec.run_id, finished=finished)
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._clear_leftovers()
        data = np.ascontiguousarray(vector, dtype="<f4").data.cast("B")
        name = _VECTOR_FILES[1] if self._in_force() == _VECTOR_FILES[0] else _VECTOR_FILES[0]
        write_atomic(self._folder / name, data, 0o600)
        digest = hashlib.sha256(data).hexdigest()
        record = _Record(spec, round_number, shard, shards, announced, finished, len(vector), digest, name)
        write_atomic(self._folder / _RECORD_FILE, msgspec.json.encode(record), 0o600)

    def _mark(self, run_id: str, *, finished: bool) -> None:
        record = self._record()
        if record is not None and record.spec.run_id == run_id:
            record = msgspec.structs.replace(record, finished=finished)
            write_atomic(self._folder / _RECORD_FILE, msgspec.json.encode(record), 0o600)

    def load(self) -> Saved | None:
        """What was saved; None when there is nothing. InvalidInputError when it is corrupt."""
        record = self._record()
        if record is None:
            return None
        path, size = self._folder / record.file, 4 * record.parameters
        try:  # the size first: what is larger is not read
            data = read_bounded(path, size, "a model vector") if path.stat().st_size == size else b""
        except (FileNotFoundError, NotFoundError):
            raise InvalidInputError(f"{path}: corrupt checkpoint: the vector is missing") from None
        except OSError as error:
            raise InvalidInputError(f"{path}: cannot be read: {error.strerror} (a model vector)") from None
        if len(data) != size or hashlib.sha256(data).hexdigest() != record.sha256:
            raise InvalidInputError(f"{path}: corrupt checkpoint: the digest does not match")
        vector = np.frombuffer(data, "<f4").astype(np.float32)
        return Saved(
            record.spec,
            record.round,
            vector,
            record.shard,
            record.shards,
            record.announced,
            record.finished,
        )

    def describe(self) -> CheckpointStatus | None:
        """Of which model it is, without reading that; None where there is none yet. As `load`."""
        record = self._record()
        if record is None or not record.round or not record.parameters:
            return None
        return CheckpointStatus(
            spec=record.spec,
            round=record.round,
            parameters=record.parameters,
            sha256=record.sha256,
            bytes=4 * record.parameters,
        )

    def _record(self) -> _Record | None:
        path = self._folder / _RECORD_FILE
        try:
            raw = read_bounded(path, _MAX_RECORD_BYTES, "a run's checkpoint")
        except NotFoundError:
            return None
        try:
            record = msgspec.json.decode(raw, type=_Record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: corrupt checkpoint: {error}") from None
        if record.file not in _VECTOR_FILES:
            raise InvalidInputError(f"{path}: corrupt checkpoint: it names another file")
        if 4 * record.parameters > MAX_VECTOR_BYTES:
            raise InvalidInputError(f"{path}: corrupt checkpoint: {record.parameters} parameters")
        if record.round > record.spec.rounds or record.shard >= record.shards:
            raise InvalidInputError(f"{path}: corrupt checkpoint: no such round or shard")
        return record

    def _clear_leftovers(self) -> None:
        """Temporary files of a process that was killed while it wrote: as large as a model, and useless."""
        for path in self._folder.glob(".*"):
            path.unlink(missing_ok=True)

    def _in_force(self) -> str | None:
        """The vector file that must not be touched; None where nothing is worth keeping."""
        try:
            record = self._record()
        except InvalidInputError:
            return None
        return None if record is None else record.file
