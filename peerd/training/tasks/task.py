"""What a task is: a model and its data. One file each beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from peerd.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Samples:
    """Images, shape (n, 1, side, side), uint8, and labels, shape (n,), int64. Bytes, not floats: a
    quarter of the memory; they are scaled a batch at a time."""

    images: Tensor
    labels: Tensor

    @classmethod
    def checked(
        cls,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        *,
        side: int,
        classes: int,
        where: str,
    ) -> Samples:
        """Raises InvalidInputError when the arrays do not belong together or to the task."""
        if images.shape[1:] != (side, side):
            raise InvalidInputError(f"{where}: images must have {side} x {side} pixels")
        if len(images) != len(labels) or not len(labels):
            raise InvalidInputError(f"{where}: {len(images)} images but {len(labels)} labels")
        if labels.max() >= classes:
            raise InvalidInputError(f"{where}: label {labels.max()}; labels go from 0 to {classes - 1}")
        return cls(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64)))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """A copy of some samples, so that the rest can be freed."""
        chosen = torch.from_numpy(indices)
        return Samples(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True, slots=True)
class Task:
    build: Callable[[], nn.Module]
    load: Callable[[str], tuple[Samples, Samples]]
    """From the data folder: training samples of all peers together, and the shared test samples.
    Raises InvalidInputError or NotFoundError."""
    mean: float
    std: float
    """Of the training pixels, to scale them by."""

    def scale(self, images: Tensor) -> Tensor:
        """Channels last makes torch's convolutions on a CPU a fifth faster."""
        floats = images.to(torch.float32, memory_format=torch.channels_last)
        return floats.sub_(self.mean).div_(self.std)
