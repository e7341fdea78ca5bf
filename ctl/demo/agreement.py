"""Whether the peers ended with the same model: their checkpoints, compared number by number.

A daemon leaves the aggregate of its last round in STATE/run: `run.json` names the round, the run and
the file of the vector, which is raw little-endian float32.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from peerd.errors import PeerdError, UnavailableError
from peerd.reading import read_bounded

POLL_SECONDS = 0.1
MAX_RECORD_BYTES = 1 << 20
MAX_VECTOR_BYTES = 1 << 32

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]


class Agreement(NamedTuple):
    max_difference: float
    """The largest over all floats of (largest minus smallest over the peers); NaN never agrees."""
    identical: bool


class _Spec(msgspec.Struct):
    run_id: str


class _Record(msgspec.Struct):
    spec: _Spec
    round: int
    parameters: int
    sha256: str
    file: str


async def read_agreement(
    state_dirs: Mapping[str, Path], run_id: str, round_number: int, patience: float
) -> Agreement:
    """Compare the models after that round. A daemon writes its checkpoint a moment after it reports
    the round; UnavailableError when one has not after `patience` seconds."""
    vectors = []
    deadline = asyncio.get_running_loop().time() + patience
    for name, folder in state_dirs.items():
        while (vector := read_model(folder / "run", run_id, round_number)) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise UnavailableError(f"{name} has left no model of round {round_number}")
            await asyncio.sleep(POLL_SECONDS)
        vectors.append(vector)
    return compare(vectors)


def read_model(folder: Path, run_id: str, round_number: int) -> Vector | None:
    """None while that round's model is not there, or is just being replaced."""
    try:
        data = read_bounded(folder / "run.json", MAX_RECORD_BYTES, "a run's checkpoint")
        record = msgspec.json.decode(data, type=_Record)
        if (record.spec.run_id, record.round) != (run_id, round_number):
            return None
        size = min(4 * record.parameters, MAX_VECTOR_BYTES)
        data = read_bounded(folder / Path(record.file).name, size, "a model vector")
    except (PeerdError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if len(data) != 4 * record.parameters or hashlib.sha256(data).hexdigest() != record.sha256:
        return None
    import numpy as np  # not for every `peerctl status`

    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def compare(vectors: list[Vector]) -> Agreement:
    """PeerdError when the models do not even have the same size."""
    if len({len(vector) for vector in vectors}) > 1:
        raise PeerdError("the peers' models differ in size")
    import numpy as np

    low, high = vectors[0].astype(np.float64), vectors[0].astype(np.float64)
    for vector in vectors[1:]:
        low, high = np.minimum(low, vector), np.maximum(high, vector)
    difference = float(np.max(high - low, initial=0.0))
    first = vectors[0].tobytes()
    return Agreement(difference, all(vector.tobytes() == first for vector in vectors))
