from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from peerd.errors import InvalidInputError
from peerd.training.flat import FlatModel
from peerd.training.tasks import digits_cnn, mnist


def norm_of(flat: FlatModel) -> nn.BatchNorm2d:
    (norm,) = [part for part in flat.module.modules() if isinstance(part, nn.BatchNorm2d)]
    return norm


def small() -> FlatModel:
    torch.manual_seed(1)
    return FlatModel(nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)))


@pytest.mark.parametrize(("build", "size"), [(mnist.build, 94_186 + 448), (digits_cnn.build, 10_074)])
def test_sizes_of_the_tasks(build: Callable[[], nn.Module], size: int) -> None:
    assert len(FlatModel(build()).vector()) == size


def test_its_form_is_names_and_shapes() -> None:
    assert small().form == (
        "0.weight[3, 1, 3, 3] 0.bias[3] 1.weight[3] 1.bias[3] "
        "1.running_mean[3] 1.running_var[3] 1.num_batches_tracked[]"
    )
    turned = nn.Sequential(nn.Linear(2, 3, bias=False)), nn.Sequential(nn.Linear(3, 2, bias=False))
    assert len({FlatModel(module).form for module in turned}) == 2, "of one size, and not the same"


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


class Odd(nn.Module):
    """A bit of everything that a module may have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.register_buffer("average", torch.tensor([[1.0, 2.0]]))
        self.register_buffer("passing", torch.zeros(5), persistent=False)
        self.register_buffer("count", torch.zeros(3, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tied(self.frozen(self.first(x))) + self.average.sum()


def test_what_training_changes_is_exchanged_and_nothing_else() -> None:
    flat = FlatModel(Odd())
    assert len(flat.weights) == 4 * 4 + 4 + 4  # the tied weight once, nothing frozen
    vector = flat.vector()
    assert vector[-2:].tolist() == [1.0, 2.0] and len(vector) == 26
    flat.load(vector * 2)
    assert flat.module.average.tolist() == [[2.0, 4.0]]
    assert flat.module.first.weight is flat.module.tied.weight
    torch.testing.assert_close(flat.vector(), vector * 2)


def test_tied_weights_get_the_gradients_of_both_places() -> None:
    flat = FlatModel(Odd())
    flat.module(torch.rand(2, 4)).sum().backward()
    assert torch.equal(flat.module.tied.weight.grad.flatten(), flat.gradient[:16])
    assert flat.gradient[:16].abs().sum() > 0


NORMS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    (nn.BatchNorm1d(3), (8, 3), 4),
    (nn.BatchNorm1d(3), (8, 3, 5), 4),
    (nn.BatchNorm2d(3), (8, 3, 4, 4), 4),
    (nn.BatchNorm3d(3), (8, 3, 2, 2, 2), 4),
    (nn.BatchNorm3d(3, affine=False, momentum=None), (8, 3, 2, 2, 2), 2),
    (nn.InstanceNorm2d(3, affine=True, track_running_stats=True), (8, 3, 4, 4), 4),
    (nn.GroupNorm(3, 3), (8, 3, 4, 4), 2),
    (nn.LayerNorm(3), (8, 3), 2),
    (nn.BatchNorm2d(3, track_running_stats=False), (8, 3, 4, 4), 2),
]


@pytest.mark.parametrize(("norm", "shape", "kinds"), NORMS)
def test_every_normalisation_comes_back(norm: nn.Module, shape: tuple[int, ...], kinds: int) -> None:
    """Weight and bias, mean and second moment: of each kind that there is, three floats."""
    flat = FlatModel(nn.ModuleList([norm, nn.Linear(1, 1, bias=False)]))
    flat.module.forward = norm.forward  # type: ignore[method-assign]
    torch.manual_seed(0)
    batch = torch.rand(shape) * 2 + 1
    assert flat.has_statistics is (getattr(norm, "running_mean", None) is not None)
    flat.take_statistics(batch)
    vector = flat.vector()
    assert len(vector) == 3 * kinds + 1
    changed = vector.clone()
    changed[0] = 7.0
    flat.load(changed)
    torch.testing.assert_close(flat.vector(), changed)
    if flat.has_statistics:
        mean = flat.vector()[-6:-3]
        torch.testing.assert_close(mean, batch.transpose(0, 1).flatten(1).mean(1))
        assert getattr(norm, "momentum", None) in (0.1, None)


def frozen() -> nn.Module:
    return nn.Linear(2, 2).requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (nn.ReLU, "no trainable parameters"),
        (frozen, "no trainable parameters"),
        (lambda: nn.Linear(2, 2).double(), "weight is torch.float64; models are exchanged as float32"),
        (lambda: nn.Linear(2, 2).to(torch.bfloat16), "weight is torch.bfloat16"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).half()), r"1\.weight is torch.float16"),
        (lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False).double()), "running_mean is"),
        (lambda: nn.LazyLinear(3), "weight is not initialised"),
    ],
)
def test_a_model_that_cannot_be_exchanged(build: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as raised:
        FlatModel(build())
    assert "\n" not in str(raised.value)
