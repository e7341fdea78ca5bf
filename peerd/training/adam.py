"""Adam (Kingma & Ba 2015, algorithm 1) on one flat tensor.

Not torch.optim.Adam: that imports torch's compiler when it is made, 0.75 s of CPU and 75 MB in every
trainer, and loops over the layers. A test holds the two together.
"""

from __future__ import annotations

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    def __init__(self, weights: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """`step` updates `weights` in place from what lies in `gradient`. `rate` may be changed between
        steps."""
        self._weights = weights
        self._gradient = gradient
        self.rate = learning_rate
        self._first = torch.zeros_like(weights)
        self._second = torch.zeros_like(weights)
        self._steps = 0

    def zero_gradient(self) -> None:
        self._gradient.zero_()

    def step(self) -> None:
        self._steps += 1
        self._first.lerp_(self._gradient, 1 - BETA1)
        self._second.mul_(BETA2).addcmul_(self._gradient, self._gradient, value=1 - BETA2)
        root = self._second.sqrt().div_((1 - BETA2**self._steps) ** 0.5).add_(EPSILON)
        self._weights.addcdiv_(self._first, root, value=-self.rate / (1 - BETA1**self._steps))
