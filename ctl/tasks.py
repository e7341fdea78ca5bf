"""What the trainer's side knows of tasks, asked of a child process: here nothing imports torch, or a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

import peerd
from peerd import errors
from peerd.errors import PeerdError
from peerd.types import RunSpec

COMMAND = (sys.executable, "-P", "-m", "peerd.training.inspect")
"""-P: the working directory is searched only where it is asked for, and last."""


def list_tasks() -> list[dict[str, Any]]:
    """Name, kind, code and summary of each."""
    found: list[dict[str, Any]] = _ask({"type": "List"})
    return found


def show_task(spec: RunSpec, task_path: str) -> dict[str, Any]:
    found: dict[str, Any] = _ask({"type": "Show", "spec": msgspec.to_builtins(spec), "task_path": task_path})
    return found


def divide(spec: RunSpec, shards: int, task_path: str) -> dict[str, Any]:
    """Samples of each shard, by class."""
    request = {"type": "Partition", "spec": msgspec.to_builtins(spec), "shards": shards}
    found: dict[str, Any] = _ask(request | {"task_path": task_path})
    return found


def privacy(spec: RunSpec, epsilon: float | None = None) -> dict[str, Any]:
    """What the whole run costs a peer with the spec's noise; or with the least noise for that epsilon."""
    found: dict[str, Any] = _ask({"type": "Privacy", "spec": msgspec.to_builtins(spec), "epsilon": epsilon})
    return found


def write_model(
    spec: RunSpec, source: Path, target: Path, form: str, said: dict[str, str], task_path: str
) -> dict[str, list[int]]:
    """The vector in `source` as a file of named tensors; their shapes."""
    request = {"type": "Write", "spec": msgspec.to_builtins(spec), "form": form, "said": said}
    request |= {"source": str(source), "target": str(target), "task_path": task_path}
    found: dict[str, list[int]] = _ask(request)
    return found


def _ask(request: dict[str, Any]) -> Any:
    """Raises the PeerdError that the child names, or one with its last words."""
    house = str(Path(peerd.__file__).parent.parent)
    paths = [house, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        COMMAND,
        input=json.dumps(request).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    try:
        reply = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise PeerdError(f"the trainer's side has no answer: {said[-1]}") from None
    if "error" in reply:
        raise getattr(errors, reply["kind"], PeerdError)(reply["error"])
    return reply["answer"]
