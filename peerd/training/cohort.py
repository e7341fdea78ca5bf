"""All learners of a run in one process: `python -m peerd.training.cohort`, a child of `peerctl experiment`.

One JSON request a line on standard input, one JSON answer a line on standard output: {"answer": ...}, or
{"error", "kind"} with the class of the error. A line that says `floats` has so many behind it, as float32,
little-endian: a model. Ends with its input.
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import msgspec
import numpy as np

from peerd.errors import InvalidInputError, PeerdError
from peerd.trainerproto import MAX_LINE, MAX_PARAMETERS, Vector
from peerd.training.session import open_learners
from peerd.training.task import Learner, Outcome
from peerd.types import RunSpec

WIRE_FLOAT = np.dtype("<f4")


class _Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    floats: int = 0


class Open(_Request, tag=True):
    """Learners for a run. Answered with the model that all of them start from."""

    spec: RunSpec
    shards: int
    learners: list[int]
    """The shard of each; several may have the same."""
    more: bool = False
    """Beside those before, and numbered after them; else in their place."""
    swapped: bool = False
    """Of samples that no peer of a run has: see `open_learners`."""
    task_path: str = ""
    """A folder to import from, besides PYTHONPATH."""


class Train(_Request, tag=True):
    """One round from the model that follows; answered with what became of it."""

    learner: int
    round: int


class Evaluate(_Request, tag=True):
    """The model that follows, on all test samples."""

    learner: int


class Cohort:
    def __init__(self) -> None:
        self._learners: list[Learner] = []

    def answer(
        self, request: Open | Train | Evaluate, vector: Vector
    ) -> tuple[dict[str, Any], Vector | None]:
        """Plain data, and a model where there is one. Raises PeerdError."""
        match request:
            case Open():
                return {}, self._open(request)
            case Train(learner=learner, round=number):
                trained, outcome = self._of(learner).train(number, vector)
                return _figures(outcome), trained
            case Evaluate(learner=learner):
                return _figures(self._of(learner).evaluate(vector, 0)), None

    def _open(self, request: Open) -> Vector:
        if request.task_path not in ("", *sys.path):  # behind everything else: it must not shadow the house
            sys.path.append(request.task_path)
        spec, before = request.spec, self._learners if request.more else []
        opened = open_learners(
            spec, request.learners, request.shards, allowed=[spec.task], swapped=request.swapped
        )
        self._learners = [*before, *opened]
        return self._of(len(before)).vector()

    def _of(self, number: int) -> Learner:
        if not 0 <= number < len(self._learners):
            raise InvalidInputError(f"no learner {number}: there are {len(self._learners)}")
        return self._learners[number]


def _figures(outcome: Outcome) -> dict[str, Any]:
    return {"loss": outcome.loss, "accuracy": outcome.accuracy, "samples": outcome.samples}


def serve(source: BinaryIO, out: BinaryIO) -> None:
    """Until there is no more."""
    cohort = Cohort()
    while line := source.readline(MAX_LINE):
        vector: Vector | None = None
        try:
            request = msgspec.json.decode(line, type=Open | Train | Evaluate)
            answer, vector = cohort.answer(request, _read(source, request.floats))
            reply: dict[str, Any] = {"answer": answer}
        except msgspec.MsgspecError as error:
            reply = {"error": str(error), "kind": InvalidInputError.__name__}
        except PeerdError as error:
            reply = {"error": str(error), "kind": type(error).__name__}
        out.write(msgspec.json.encode(reply | {"floats": 0 if vector is None else len(vector)}) + b"\n")
        if vector is not None:
            out.write(vector.astype(WIRE_FLOAT, copy=False).tobytes())
        out.flush()


def _read(source: BinaryIO, floats: int) -> Vector:
    """EOFError where the other end stops in the middle."""
    if not 0 <= floats <= MAX_PARAMETERS:
        raise InvalidInputError(f"floats: {floats}; 0 to {MAX_PARAMETERS} are allowed")
    data = source.read(floats * WIRE_FLOAT.itemsize)
    if len(data) != floats * WIRE_FLOAT.itemsize:
        raise EOFError(f"{len(data)} bytes of a model of {floats} floats")
    return np.frombuffer(data, WIRE_FLOAT).astype(np.float32)


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a task prints is no part of the answers
    with out:
        serve(sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
