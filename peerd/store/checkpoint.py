"""The last aggregated model of a run, with the run's spec and round: one folder, written atomically.

    run.json    spec, round, number of floats, SHA-256 of the vector
    model-N.f32 the vector: little-endian float32, nothing else

Two vector files take turns and run.json names the one that holds, so that a crash between
the two writes leaves the earlier pair intact.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from peerd.errors import InvalidInputError, NotFoundError
from peerd.store.files import read_bounded, write_atomic
from peerd.types import RunSpec

Vector = NDArray[np.float32]
MAX_VECTOR_BYTES = 1 << 32


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    spec: RunSpec
    round: int
    parameters: int
    sha256: str
    file: str


class Saved(NamedTuple):
    spec: RunSpec
    round: int
    vector: Vector


class Checkpoint:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, spec: RunSpec, round_number: int, vector: Vector) -> None:
        """Replace the checkpoint. OSError when the disk refuses; the earlier one is then intact."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        data = np.ascontiguousarray(vector, dtype="<f4").tobytes()
        name = f"model-{round_number % 2}.f32"  # two names in turn: run.json says which one holds
        write_atomic(self._folder / name, data, 0o600)
        digest = hashlib.sha256(data).hexdigest()
        record = _Record(spec, round_number, len(vector), digest, name)
        write_atomic(self._folder / "run.json", msgspec.json.encode(record), 0o600)

    def load(self) -> Saved | None:
        """What was saved; None when there is nothing. InvalidInputError when it is corrupt."""
        path = self._folder / "run.json"
        try:
            raw = read_bounded(path, 1 << 20, "a run's checkpoint")
        except NotFoundError:
            return None
        try:
            record = msgspec.json.decode(raw, type=_Record)
        except msgspec.MsgspecError as error:
            raise InvalidInputError(f"{path}: corrupt checkpoint: {error}") from None
        if record.file not in ("model-0.f32", "model-1.f32"):
            raise InvalidInputError(f"{path}: corrupt checkpoint: it names {record.file!r}")
        model = self._folder / record.file
        data = read_bounded(model, MAX_VECTOR_BYTES, "a model vector")
        if len(data) != 4 * record.parameters or hashlib.sha256(data).hexdigest() != record.sha256:
            raise InvalidInputError(f"{model}: corrupt checkpoint: the digest does not match")
        vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
        return Saved(record.spec, record.round, vector)
