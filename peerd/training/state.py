"""The `state_dict` of a torch task's model, with the values of a model vector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from peerd.errors import InvalidInputError
from peerd.trainerproto import Vector
from peerd.training.flat import FlatModel
from peerd.training.torchtask import TorchTask
from peerd.types import RunSpec


def state_dict(task: TorchTask, spec: RunSpec, vector: Vector) -> dict[str, Tensor]:
    """Each tensor in memory of its own. What is not exchanged is as the task's factory makes it."""
    torch.manual_seed(spec.seed)
    model = FlatModel(task.model())
    size = len(model.vector())
    if size != len(vector):
        raise InvalidInputError(f"the vector has {len(vector)} values, the model of {spec.task} {size}")
    model.load(torch.from_numpy(vector))
    tensors: dict[str, Tensor] = {}
    for name, value in model.module.state_dict().items():
        if not isinstance(value, Tensor):
            raise InvalidInputError(
                f"task {spec.task!r}: {name} of its state is no tensor, so it has no file form"
            )
        tensors[name] = value.detach().clone(memory_format=torch.contiguous_format)
    return tensors


def write(tensors: dict[str, Tensor], target: Path, form: str, said: Mapping[str, str]) -> None:
    if form == "torch":
        torch.save(tensors, target)
    else:
        save_file(tensors, target, dict(said))
