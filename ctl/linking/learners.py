"""The learners of all peers, in one child process: here nothing imports torch, or a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import peerd
from peerd import errors
from peerd.errors import PeerdError
from peerd.types import RunSpec

MAX_SAID_BYTES = 1 << 20

COMMAND = (sys.executable, "-P", "-m", "peerd.training.cohort")
WIRE_FLOAT = np.dtype("<f4")

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Outcome:
    loss: float
    accuracy: float
    samples: int


class Learners:
    """The child lives as long as the context. Every call raises the PeerdError that it names, or one with its
    last words."""

    def __init__(self, task_path: str = "") -> None:
        self._task_path = task_path

    def __enter__(self) -> Learners:
        house = str(Path(peerd.__file__).parent.parent)
        paths = [house, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._said = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()  # it has nothing to put in order
        self._child.communicate()
        self._said.close()

    def open(
        self, spec: RunSpec, shards: int, chosen: Sequence[int], *, more: bool = False, swapped: bool = False
    ) -> Vector:
        """One learner for each of the chosen shards, numbered in this order: from 0, or `more` of them after
        those before. `swapped`: of the task's test samples, which no peer has. Returns the initial model."""
        request = {"type": "Open", "spec": msgspec.to_builtins(spec), "shards": shards, "more": more}
        _, vector = self._ask(
            request | {"learners": list(chosen), "swapped": swapped, "task_path": self._task_path}
        )
        return vector

    def train(self, learner: int, round: int, vector: Vector) -> tuple[Vector, Outcome]:
        answer, trained = self._ask({"type": "Train", "learner": learner, "round": round}, vector)
        return trained, Outcome(**answer)

    def evaluate(self, learner: int, vector: Vector) -> Outcome:
        """On all test samples."""
        answer, _ = self._ask({"type": "Evaluate", "learner": learner}, vector)
        return Outcome(**answer)

    def _ask(self, request: dict[str, Any], vector: Vector | None = None) -> tuple[dict[str, Any], Vector]:
        assert self._child.stdin is not None and self._child.stdout is not None
        floats = 0 if vector is None else len(vector)
        try:
            self._child.stdin.write(json.dumps(request | {"floats": floats}).encode() + b"\n")
            if vector is not None:
                self._child.stdin.write(vector.astype(WIRE_FLOAT, copy=False).tobytes())
            self._child.stdin.flush()
            reply = json.loads(self._child.stdout.readline())
            data = self._child.stdout.read(reply["floats"] * WIRE_FLOAT.itemsize)
        except (OSError, ValueError):  # it has gone
            raise PeerdError(f"the learners cannot go on: {self._last_words()}") from None
        if "error" in reply:
            raise getattr(errors, reply["kind"], PeerdError)(reply["error"])
        return reply["answer"], np.frombuffer(data, WIRE_FLOAT).astype(np.float32)

    def _last_words(self) -> str:
        code = self._child.wait()
        self._said.seek(0)
        lines = self._said.read(MAX_SAID_BYTES).decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"
