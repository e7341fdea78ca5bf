from __future__ import annotations

import pytest
import torch
from torch import nn

from peerd.training.flat import FlatModel
from peerd.training.tasks import TASKS


def norm_of(flat: FlatModel) -> nn.BatchNorm2d:
    (norm,) = [part for part in flat.module.modules() if isinstance(part, nn.BatchNorm2d)]
    return norm


def small() -> FlatModel:
    torch.manual_seed(1)
    return FlatModel(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)))


@pytest.mark.parametrize(("task", "size"), [("mnist-cnn", 94_186 + 448), ("digits-cnn", 10_074)])
def test_sizes_of_the_tasks(task: str, size: int) -> None:
    assert len(FlatModel(TASKS[task].build()).vector()) == size


def test_the_module_computes_with_the_flat_weights() -> None:
    flat = small()
    images = torch.ones(2, 1, 5, 5)
    before = flat.module(images)
    flat.weights[: 3 * 9].zero_()  # the convolution's kernels
    assert not torch.equal(flat.module(images), before)
    assert all(weight.data_ptr() >= flat.weights.data_ptr() for weight in flat.module.parameters())


def test_gradients_arrive_in_the_flat_gradient() -> None:
    flat = small()
    flat.module(torch.rand(2, 1, 5, 5)).square().sum().backward()
    joined = torch.cat([weight.grad.flatten() for weight in flat.module.parameters()])
    assert joined.abs().sum() > 0
    assert torch.equal(joined, flat.gradient)


def test_loading_what_was_taken_gives_the_same_model() -> None:
    flat, other = small(), FlatModel(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)))
    flat.take_statistics(torch.rand(8, 1, 5, 5))
    other.load(flat.vector())
    flat.module.eval()
    other.module.eval()
    images = torch.rand(4, 1, 5, 5)
    torch.testing.assert_close(other.module(images), flat.module(images))


def test_a_vector_is_a_copy() -> None:
    flat = small()
    vector = flat.vector()
    flat.weights.fill_(9.0)
    flat.load(vector)
    assert torch.equal(flat.vector(), vector)


def test_averaged_moments_are_the_moments_of_all_data() -> None:
    """Two peers whose data differ in mean: averaging their variances would miss that."""
    torch.manual_seed(2)
    low, high = torch.rand(6, 1, 5, 5), torch.rand(6, 1, 5, 5) * 3 + 4
    vectors = []
    for images in (low, high):
        flat = small()
        flat.take_statistics(images)
        vectors.append(flat.vector())
    together, averaged = small(), small()
    together.take_statistics(torch.cat([low, high]))
    averaged.load(torch.stack(vectors).mean(0))
    a, b = norm_of(averaged), norm_of(together)
    assert a.running_mean is not None and a.running_var is not None
    torch.testing.assert_close(a.running_mean, b.running_mean)
    # torch's variance of n values is the unbiased one: 54 values each, 108 together
    torch.testing.assert_close(a.running_var, b.running_var, rtol=0.02, atol=0.0)
    plain = (vectors[0] + vectors[1])[-3:] / 2 - (vectors[0][-6:-3] ** 2 + vectors[1][-6:-3] ** 2) / 2
    assert (plain < a.running_var).all() and (plain < a.running_var / 2).any()


def test_rounding_never_makes_a_variance_negative() -> None:
    flat = small()
    vector = flat.vector()
    vector[-6:-3] = 1_000.0
    vector[-3:] = 1_000.0**2 * (1 - 1e-6)
    flat.load(vector)
    norm = norm_of(flat)
    assert norm.running_var is not None
    assert (norm.running_var == 0.0).all()
    flat.module.eval()
    assert flat.module(torch.rand(2, 1, 5, 5)).isfinite().all()


def test_taking_statistics_forgets_the_old_ones_and_keeps_the_momentum() -> None:
    flat = small()
    vector = flat.vector()
    vector[-3:] = 1e6
    flat.load(vector)
    images = torch.rand(16, 1, 5, 5)
    flat.take_statistics(images)
    norm = norm_of(flat)
    convolved = flat.module[0](images)  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, convolved.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, convolved.var((0, 2, 3)))
    assert norm.momentum == 0.1


def test_statistics_must_be_kept() -> None:
    flat = FlatModel(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)))
    with pytest.raises(ValueError, match="without running statistics"):
        flat.vector()
