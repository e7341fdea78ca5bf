"""Models of closed rounds, one safetensors file each: RUN/round-NNNNNNN.safetensors.

    tensor      vector: float32, shape (parameters,)
    metadata    run_id, round, task, sha256 (of the vector), accuracy, test_samples, spec (JSON); check
                (SHA-256 of all the others)

They are for an operator: to export a model, to begin another run with it. What a crashed peer goes on with is
`checkpoint`. Of each of the last `RUNS` runs the newest rounds are kept, and the best; more goes when a round
is written. A file that cannot be read is left aside, with one line, and the next older one serves.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from peerd.errors import InvalidInputError, NotFoundError
from peerd.status import CheckpointStatus
from peerd.store.files import write_atomic
from peerd.types import RunSpec

Vector = NDArray[np.float32]
RUNS = 4
"""Of which models are kept."""
MAX_FILE_BYTES = (1 << 30) + (1 << 20)
TENSOR = "vector"
RUN_FOLDER = re.compile(r"[0-9a-f]{32}", re.ASCII)
_FILE = re.compile(r"round-([0-9]{7})\.safetensors", re.ASCII)
_KEYS = ("run_id", "round", "task", "sha256", "accuracy", "test_samples", "spec")


class Archive:
    """`keep`: how many of a run's newest rounds stay beside its best; 0: nothing is written. `aside` is told
    of files that cannot be read. Blocking: for a thread."""

    def __init__(self, folder: Path, keep: int, aside: Callable[[str], None] = lambda _line: None) -> None:
        self._folder = folder
        self.keep = keep
        self._aside = aside

    def write(
        self, spec: RunSpec, round_number: int, vector: Vector, accuracy: float, test_samples: int
    ) -> None:
        """Then remove what is too much. OSError when the disk refuses; all earlier files are then intact."""
        if not self.keep:
            return
        run = folder_of(self._folder, spec.run_id)
        for leftover in run.glob(".round-*"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        values = np.ascontiguousarray(vector, dtype="<f4")
        said = {
            "run_id": spec.run_id,
            "round": str(round_number),
            "task": spec.task,
            "sha256": digest_of(values),
            "accuracy": repr(accuracy),
            "test_samples": str(test_samples),
            "spec": msgspec.json.encode(spec).decode(),
        }
        header = _header(len(values), said | {"check": _check(said)})
        write_atomic(run / _name(round_number), (header, values.data.cast("B")), 0o600)
        self._thin_out(spec.run_id)

    def entries(self, run_id: str = "") -> list[CheckpointStatus]:
        """Of the runs whose id begins so; the run that was written to last comes last, rounds in order."""
        found = []
        for run in self._runs():
            if run.name.startswith(run_id):
                found += _with_best(self._readable(run))
        return found

    def read(self, entry: CheckpointStatus) -> Vector:
        """The model, a copy of one's own. InvalidInputError where it is not what it was when it was written,
        NotFoundError where it has gone."""
        path = self._folder / entry.spec.run_id / _name(entry.round)
        with _reading(path), safe_open(path, framework="numpy") as file:
            _described(path, file)
            vector: Vector = np.array(file.get_tensor(TENSOR), np.float32)
        if digest_of(vector) != entry.sha256:
            raise _corrupt(path, "the digest does not match")
        return vector

    def _runs(self) -> list[Path]:
        """By the time of the last write, the latest last."""
        runs = [path for path in listed(self._folder) if RUN_FOLDER.fullmatch(path.name)]
        return sorted(runs, key=age)

    def _readable(self, run: Path) -> list[CheckpointStatus]:
        found = []
        for path in sorted(path for path in listed(run) if _FILE.fullmatch(path.name)):
            try:
                found.append(_describe(path))
            except NotFoundError:
                continue  # removed a moment ago
            except InvalidInputError as error:
                self._aside(str(error))
        return found

    def _thin_out(self, run_id: str) -> None:
        run = self._folder / run_id
        entries = _with_best(self._readable(run))
        for entry in entries[: -self.keep]:
            if not entry.best:
                (run / _name(entry.round)).unlink(missing_ok=True)
        with_models = [path for path in self._runs() if path.name != run_id and any(path.glob("round-*"))]
        for path in with_models[: max(len(with_models) - (RUNS - 1), 0)]:
            for model in path.glob("round-*"):
                model.unlink(missing_ok=True)


def folder_of(runs: Path, run_id: str) -> Path:
    """Of one run, made where it is not there yet. Both are closed to others, also where an earlier version
    left `runs` open."""
    runs.mkdir(mode=0o700, exist_ok=True)
    if runs.stat().st_mode & 0o077:
        runs.chmod(0o700)
    run = runs / run_id
    run.mkdir(mode=0o700, exist_ok=True)
    return run


def listed(folder: Path) -> list[Path]:
    """What is in it; nothing where it is not there, or not any more."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def age(path: Path) -> tuple[int, str]:
    """To sort by the time of the last write. What has gone a moment ago is oldest."""
    try:
        return path.stat().st_mtime_ns, str(path)
    except OSError:
        return 0, str(path)


def remove_run(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def digest_of(vector: Vector) -> str:
    """SHA-256 of the vector as little-endian float32, in hex."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").data).hexdigest()


def _header(values: int, said: Mapping[str, str]) -> bytes:
    """What goes before a row of so many float32 in a safetensors file. The library's own `save` would have
    two copies of the model in memory."""
    tensor = {"dtype": "F32", "shape": [values], "data_offsets": [0, values * np.dtype("<f4").itemsize]}
    text = json.dumps({"__metadata__": dict(said), TENSOR: tensor}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _with_best(entries: Iterable[CheckpointStatus]) -> list[CheckpointStatus]:
    """Of one run: the first with the highest accuracy is marked."""
    known = list(entries)
    best = max(known, key=lambda entry: entry.accuracy, default=None)
    return [msgspec.structs.replace(entry, best=entry is best) for entry in known]


def _name(round_number: int) -> str:
    return f"round-{round_number:07d}.safetensors"


def _describe(path: Path) -> CheckpointStatus:
    with _reading(path), safe_open(path, framework="numpy") as file:
        return _described(path, file)


def _described(path: Path, file: safe_open) -> CheckpointStatus:
    """What the header says, checked."""
    said = file.metadata() or {}
    if set(said) != {*_KEYS, "check"} or said["check"] != _check(said):
        raise _corrupt(path, "its description is damaged")
    if list(file.keys()) != [TENSOR]:
        raise _corrupt(path, f"it has no tensor {TENSOR!r}, or others")
    shape = file.get_slice(TENSOR).get_shape()
    if file.get_slice(TENSOR).get_dtype() != "F32" or len(shape) != 1:
        raise _corrupt(path, f"its {TENSOR} is not a row of float32")
    spec = msgspec.json.decode(said["spec"], type=RunSpec)
    if (spec.run_id, _name(int(said["round"]))) != (path.parent.name, path.name):
        raise _corrupt(path, "it is of another run or round")
    return CheckpointStatus(
        spec=spec,
        round=int(said["round"]),
        parameters=shape[0],
        sha256=said["sha256"],
        accuracy=float(said["accuracy"]),
        test_samples=int(said["test_samples"]),
        bytes=path.stat().st_size,
    )


def _check(said: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([said[key] for key in _KEYS]).encode()).hexdigest()


def _corrupt(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path}: corrupt checkpoint: {why}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What reading such a file may raise, as one line that names it."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _corrupt(path, f"larger than {MAX_FILE_BYTES} bytes")
        yield
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such file (a checkpoint)") from None
    except (SafetensorError, msgspec.MsgspecError, ValueError, OSError) as error:
        first_line, _, _ = str(error).partition("\n")
        raise _corrupt(path, first_line) from None
