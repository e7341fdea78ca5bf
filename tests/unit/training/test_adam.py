from __future__ import annotations

import torch
from torch.nn import functional

from peerd.training.adam import Adam


def test_steps_like_torchs_own() -> None:
    """Twenty steps on a quadratic whose gradients differ by orders of magnitude."""
    torch.manual_seed(0)
    scales = torch.logspace(-4, 3, 50)
    target = torch.randn(50)
    ours = torch.zeros(50)
    gradient = torch.zeros(50)
    adam = Adam(ours, gradient, learning_rate=0.01)
    theirs = torch.zeros(50, requires_grad=True)
    reference = torch.optim.Adam([theirs], lr=0.01)
    for _ in range(20):
        adam.zero_gradient()
        assert not gradient.any()
        gradient += 2 * scales * (ours - target)
        adam.step()
        reference.zero_grad()
        (scales * functional.mse_loss(theirs, target, reduction="none")).sum().backward()
        reference.step()
        torch.testing.assert_close(ours, theirs.detach())


def test_the_first_step_has_the_size_of_the_rate_whatever_the_gradient() -> None:
    weights = torch.zeros(3)
    gradient = torch.tensor([1e-3, -1.0, 1e4])
    Adam(weights, gradient, learning_rate=0.1).step()
    torch.testing.assert_close(weights, torch.tensor([-0.1, 0.1, -0.1]), rtol=1e-4, atol=0.0)
