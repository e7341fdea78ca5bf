"""A model vector as named tensors in a file, as a researcher loads it: `model.load_state_dict(...)`.

safetensors   of a torch task the names and shapes of `state_dict`; of any other one tensor, `vector`
torch         the same dictionary by `torch.save`, for torch tasks alone; loads with `weights_only=True`
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from peerd.errors import InvalidInputError
from peerd.trainerproto import MAX_PARAMETERS, Vector
from peerd.training.registry import blamed, make_task
from peerd.types import RunSpec

Format = Literal["safetensors", "torch"]
FLOAT_BYTES = 4


def write_model(
    spec: RunSpec, source: Path, target: Path, form: Format, said: Mapping[str, str]
) -> dict[str, Any]:
    """`source`: the vector, little-endian float32. `said`: metadata of a safetensors file. Names with shapes.

    Raises InvalidInputError for a model that is not of this task, or a format that it does not have.
    """
    vector = _read(source)
    task = make_task(spec, [spec.task])
    module = sys.modules.get("peerd.training.torchtask")  # not there: it cannot be a task of torch
    if module is None or not isinstance(task, module.TorchTask):
        if form == "torch":
            raise InvalidInputError(f"task {spec.task!r} is not of torch: export it as safetensors")
        save_file({"vector": vector}, target, dict(said))
        return {"vector": list(vector.shape)}
    from peerd.training import state  # needs torch

    with blamed(spec.task, "its model"):
        tensors = state.state_dict(task, spec, vector)
    state.write(tensors, target, form, said)
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _read(source: Path) -> Vector:
    size = source.stat().st_size
    if size % FLOAT_BYTES or not 0 < size <= FLOAT_BYTES * MAX_PARAMETERS:
        raise InvalidInputError(f"{source}: {size} bytes are no model vector")
    return np.fromfile(source, "<f4").astype(np.float32, copy=False)
