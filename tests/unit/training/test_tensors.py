"""Vectors as named tensors: what a researcher loads without peerd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from peerd.errors import InvalidInputError
from peerd.training.flat import FlatModel
from peerd.training.session import open_learner
from peerd.training.tasks import digits_cnn
from peerd.training.tensors import write_model
from peerd.types import RunSpec

RUN = "ab" * 16
CNN = RunSpec(run_id=RUN, task="digits-cnn", seed=3)


@pytest.fixture(scope="module")
def trained() -> np.ndarray:
    learner = open_learner(CNN, 0, 8)
    vector, _ = learner.train(1, learner.vector())
    return vector


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "vector"


@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_the_state_dict_makes_the_model_that_was_trained(
    trained: np.ndarray, source: Path, tmp_path: Path, form: str
) -> None:
    trained.astype("<f4").tofile(source)
    shapes = write_model(CNN, source, tmp_path / "model", form, {"round": "4"})
    if form == "torch":
        tensors = torch.load(tmp_path / "model", weights_only=True)
    else:
        tensors = load_file(tmp_path / "model")
        with safe_open(tmp_path / "model", framework="pt") as file:
            assert file.metadata() == {"round": "4"}
    model = digits_cnn.build()
    model.load_state_dict(tensors)
    assert shapes == {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    learner = open_learner(CNN, 0, 8)
    again = FlatModel(model).vector().numpy()
    # E[x^2] goes to a variance and back: within rounding the same, and as good.
    np.testing.assert_allclose(again, trained, rtol=1e-4, atol=1e-5)
    assert learner.evaluate(again, 0).accuracy == learner.evaluate(trained, 0).accuracy


def test_a_file_of_torch_has_no_more_than_its_tensors(
    trained: np.ndarray, source: Path, tmp_path: Path
) -> None:
    trained.astype("<f4").tofile(source)
    write_model(CNN, source, tmp_path / "model", "torch", {})
    assert (tmp_path / "model").stat().st_size < 2 * trained.nbytes


@pytest.mark.parametrize("task", ["synthetic", "digits-mlp"])
def test_what_is_not_of_torch_is_one_vector(task: str, source: Path, tmp_path: Path) -> None:
    vector = np.arange(7, dtype=np.float32)
    vector.astype("<f4").tofile(source)
    spec = RunSpec(run_id=RUN, task=task)
    assert write_model(spec, source, tmp_path / "model", "safetensors", {}) == {"vector": [7]}
    with safe_open(tmp_path / "model", framework="numpy") as file:
        assert file.get_tensor("vector").tolist() == vector.tolist()
    with pytest.raises(InvalidInputError, match=f"task '{task}' is not of torch: export it as safetensors"):
        write_model(spec, source, tmp_path / "model", "torch", {})


def test_a_vector_of_another_model_is_one_line(source: Path, tmp_path: Path) -> None:
    np.zeros(7, "<f4").tofile(source)
    with pytest.raises(InvalidInputError, match="the vector has 7 values, the model of digits-cnn 10074"):
        write_model(CNN, source, tmp_path / "model", "safetensors", {})
    source.write_bytes(b"abc")
    with pytest.raises(InvalidInputError, match="3 bytes are no model vector"):
        write_model(CNN, source, tmp_path / "model", "safetensors", {})


class Tied(nn.Module):
    """One weight under two names, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(4, 4, bias=False)
        self.outward = nn.Linear(4, 4, bias=False)
        self.outward.weight = self.inward.weight
        self.register_buffer("steps", torch.tensor(7))


def test_tied_weights_and_what_is_not_exchanged_are_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiedtask.py").write_text(
        "from peerd.training.torchtask import TorchTask\n"
        "from test_tensors_tied import Tied\n"
        "def make(): return TorchTask(model=Tied, data=lambda: None, classes=2)\n"
    )
    import sys
    import types

    module = types.ModuleType("test_tensors_tied")
    module.Tied = Tied  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "test_tensors_tied", module)
    monkeypatch.syspath_prepend(str(tmp_path))
    np.arange(16, dtype="<f4").tofile(source)
    spec = RunSpec(run_id=RUN, task="tiedtask:make")
    for form in ("safetensors", "torch"):
        write_model(spec, source, tmp_path / "model", form, {})
        read = load_file(tmp_path / "model") if form == "safetensors" else torch.load(tmp_path / "model")
        model = Tied()
        model.steps.zero_()
        model.load_state_dict(read)
        assert model.outward.weight.flatten().tolist() == model.inward.weight.flatten().tolist()
        assert model.inward.weight.flatten().tolist() == list(range(16))
        assert model.steps.item() == 7
