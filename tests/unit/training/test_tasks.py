"""The shipped tasks: their data as they lie on a disk, and what their models need."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.dataset import CIFAR10_FILES, MNIST_FILES, NEEDS
from peerd.errors import InvalidInputError, NotFoundError
from peerd.training.registry import SHIPPED, load_factory, make_task, options_of
from peerd.training.session import load_data, open_learner
from peerd.training.task import Samples, Task
from peerd.training.tasks import cifar10, digits
from peerd.training.torchtask import TorchTask
from peerd.types import SHIPPED_TASKS, RunSpec

IDX_TASKS = ["mnist-cnn", "fashion-mnist-cnn"]


def task(name: str, data_dir: str = "", **options: str) -> Task:
    return make_task(
        RunSpec(run_id="0" * 32, task=name, data_dir=data_dir, task_options=options), SHIPPED_TASKS
    )


def data(name: str, data_dir: str = "") -> tuple[Samples, Samples]:
    return load_data(name, task(name, data_dir))


def test_all_tables_have_the_same_tasks_and_options() -> None:
    assert set(SHIPPED) == set(SHIPPED_TASKS) == set(NEEDS)
    for name, needs in NEEDS.items():
        assert set(needs.options) == set(options_of(name, load_factory(name, SHIPPED_TASKS)))


def test_digits_are_scikit_learns_own() -> None:
    from sklearn.datasets import load_digits

    train, test = data("digits-cnn")
    assert (len(train), len(test)) == (1_437, 360)
    ours = np.concatenate([train.features, test.features]).reshape(-1, 64)
    labels = np.concatenate([train.labels, test.labels])
    theirs = load_digits()
    order, reference = np.lexsort(ours.T), np.lexsort(theirs.data.T)
    np.testing.assert_array_equal(ours[order], theirs.data[reference])
    assert np.bincount(labels).tolist() == np.bincount(theirs.target).tolist()


def test_digits_are_always_split_in_the_same_way() -> None:
    first, again = (data("digits-mlp")[1] for _ in range(2))
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.labels, again.labels)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(NotFoundError, match="pip install"):
        digits.load()


def test_broken_digits_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for content in (b"", b"<html>", gzip.compress(b"1,2\nx,y"), gzip.compress(b"1,2\n3,4")):
        (tmp_path / "digits.csv.gz").write_bytes(content)
        monkeypatch.setattr(digits, "_bundled", lambda: tmp_path / "digits.csv.gz")
        with pytest.raises(InvalidInputError, match=r"digits\.csv\.gz: not scikit-learn's digits"):
            digits.load()


@pytest.mark.parametrize("name", IDX_TASKS)
def test_idx_files_from_a_folder(name: str, mnist_dir: Path) -> None:
    train, test = data(name, str(mnist_dir))
    assert (len(train), len(test)) == (60, 20)
    assert train.features.shape == (60, 1, 28, 28)
    assert train.labels[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", [*IDX_TASKS, "cifar10-cnn"])
def test_a_missing_folder_is_named(name: str) -> None:
    with pytest.raises(NotFoundError, match="no such data folder"):
        data(name, "/nowhere/at/all")


def test_a_broken_mnist_file_is_named(mnist_dir: Path, tmp_path: Path) -> None:
    for path in mnist_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / MNIST_FILES[2]).write_bytes(b"<html>")
    with pytest.raises(InvalidInputError, match=MNIST_FILES[2]):
        data("mnist-cnn", str(tmp_path))


def test_images_and_labels_that_do_not_belong_together(mnist_dir: Path, tmp_path: Path) -> None:
    for path in mnist_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / MNIST_FILES[0]).write_bytes((mnist_dir / MNIST_FILES[2]).read_bytes())
    with pytest.raises(InvalidInputError, match="'mnist-cnn', training data: 20 samples but 60 labels"):
        data("mnist-cnn", str(tmp_path))


# -- CIFAR-10 ----------------------------------------------------------------------------------------


def cifar(count: int, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (count, cifar10.RECORD), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 10
    return records.tobytes()


@pytest.fixture
def cifar_dir(tmp_path: Path) -> Path:
    """As the archive unpacks: a folder in the folder."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate(CIFAR10_FILES):
        (folder / name).write_bytes(cifar(12, number))
    return tmp_path


def test_cifar_records_are_planes_of_red_green_and_blue(cifar_dir: Path) -> None:
    first = cifar_dir / "cifar-10-batches-bin" / CIFAR10_FILES[0]
    content = bytearray(cifar(12))
    content[0] = 7
    content[1 : 1 + 1024] = b"\x01" * 1024
    content[1 + 2048 : 1 + 3072] = b"\x03" * 1024
    first.write_bytes(content)
    train, test = data("cifar10-cnn", str(cifar_dir))
    assert (train.features.shape, len(test)) == ((60, 3, 32, 32), 12)
    assert train.labels[0] == 7
    assert (train.features[0, 0] == 1).all() and (train.features[0, 2] == 3).all()
    assert data("cifar10-cnn", str(first.parent))[0].labels[0] == 7  # the inner folder will do


def test_cifar_is_trained_on(cifar_dir: Path) -> None:
    spec = RunSpec(run_id="0" * 32, task="cifar10-cnn", data_dir=str(cifar_dir), batch_size=5)
    learner = open_learner(spec, 0, 6)
    vector, outcome = learner.train(1, learner.vector())
    assert (outcome.samples, len(vector)) == (10, 94_634 + 2 * 9 * 32)
    assert learner.evaluate(vector, 0).samples == 12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (cifar(3)[:-1], "9218 bytes"),
        (b"\x0a" + cifar(1)[1:], "label 10"),
        (b"\x1f\x8b1", ""),
    ],
)
def test_a_broken_cifar_file_is_named(cifar_dir: Path, content: bytes, reason: str) -> None:
    path = cifar_dir / "cifar-10-batches-bin" / CIFAR10_FILES[2]
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=f"^{path}: not a usable CIFAR-10 binary file: .*{reason}"):
        data("cifar10-cnn", str(cifar_dir))


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_make_the_cifar_reader_fail_otherwise(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"x\.bin"):
        cifar10.read_records(path)


# -- models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits-cnn", *IDX_TASKS, "cifar10-cnn"])
def test_scaling_centres_the_pixels(name: str) -> None:
    """Exactly so for digits, whose pixels are here; for the others by published figures."""
    made = task(name) if name == "digits-cnn" else task(name, "/unused")
    assert isinstance(made, TorchTask)
    if name == "digits-cnn":
        scaled = made.prepare(torch.from_numpy(data(name)[0].features))
        assert abs(scaled.mean().item()) < 0.01
        assert abs(scaled.std().item() - 1) < 0.01
        return
    expected = {
        "mnist-cnn": [-0.4242, 2.8215],
        "fashion-mnist-cnn": [-0.8102, 2.0227],
        "cifar10-cnn": [-1.9889, 2.0587],
    }
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    if name == "cifar10-cnn":
        ends = ends.expand(2, 3, 1, 1).contiguous()
    torch.testing.assert_close(
        made.prepare(ends)[:, 0].flatten(), torch.tensor(expected[name]), atol=1e-3, rtol=0.0
    )


@pytest.mark.parametrize(
    ("name", "shape"), [("digits-cnn", (1, 8, 8)), ("mnist-cnn", (1, 28, 28)), ("cifar10-cnn", (3, 32, 32))]
)
def test_a_batch_of_one_can_be_trained_on(name: str, shape: tuple[int, ...]) -> None:
    """The last normalisation still has several pixels to normalise over."""
    made = task(name) if name == "digits-cnn" else task(name, "/unused")
    assert isinstance(made, TorchTask)
    assert made.model()(torch.rand(1, *shape)).shape == (1, 10)


def test_the_mlp_has_as_many_hidden_units_as_asked() -> None:
    spec = RunSpec(run_id="0" * 32, task="digits-mlp", task_options={"hidden": "7"})
    assert len(open_learner(spec, 0, 6).vector()) == 64 * 7 + 7 * 10 + 7 + 10
    with pytest.raises(InvalidInputError, match="digits-mlp: option hidden: 0; allowed: 1 to 4096"):
        task("digits-mlp", hidden="0")


def test_the_mlp_follows_the_schedule() -> None:
    """Adam's first step is as long as the learning rate."""
    moved = []
    for number in (1, 3):
        spec = RunSpec(run_id="0" * 32, task="digits-mlp", schedule="step", decay=0.1, decay_rounds=1,
                       local_batches=1)  # fmt: skip
        learner = open_learner(spec, 0, 6)
        start = learner.vector()
        moved.append(np.abs(learner.train(number, start)[0] - start).max())
    assert moved[1] / moved[0] == pytest.approx(0.01, rel=0.01)


# -- synthetic ---------------------------------------------------------------------------------------


def synthetic(shard: int = 0, schedule: str = "constant", rounds: int = 5, **options: str):  # type: ignore[no-untyped-def]
    spec = RunSpec(run_id="0" * 32, task="synthetic", schedule=schedule, rounds=rounds, task_options=options)
    return open_learner(spec, shard, 4)


def test_synthetic_accuracy_says_how_near_the_optimum_is() -> None:
    learner = synthetic(noise="0", step="0.5", parameters="1000")
    vector = learner.vector()
    assert learner.evaluate(vector, 0).accuracy == 0.0
    for number, expected in ((1, 0.5), (2, 0.75), (3, 0.875)):
        vector, outcome = learner.train(number, vector)
        assert outcome.accuracy == pytest.approx(expected, abs=1e-5)
        assert outcome.loss == pytest.approx(1 - expected, abs=1e-5)


def test_averaging_takes_the_noise_out() -> None:
    learners = [synthetic(shard, noise="1", parameters="20000") for shard in range(4)]
    trained = [learner.train(1, learner.vector())[0] for learner in learners]
    alone = learners[0].evaluate(trained[0], 0).accuracy
    together = learners[0].evaluate(np.mean(trained, 0), 0).accuracy
    assert together > alone + 0.1


def test_the_schedule_scales_the_synthetic_step() -> None:
    learner = synthetic(schedule="cosine", rounds=2, noise="0", step="1", parameters="10")
    assert learner.train(1, learner.vector())[1].accuracy == pytest.approx(1.0)
    assert learner.train(2, learner.vector())[1].accuracy == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "value"), [("parameters", "0"), ("step", "1.5"), ("noise", "-1"), ("samples", "0")]
)
def test_synthetic_options_have_limits(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=f"synthetic: option {name}: .*; allowed: "):
        task("synthetic", **{name: value})


def test_a_synthetic_model_is_worked_on_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from peerd.training.tasks import synthetic as module

    whole = synthetic(parameters="1000")
    expected = whole.train(1, whole.vector())
    monkeypatch.setattr(module, "CHUNK", 64)
    parts = synthetic(parameters="1000")
    vector, outcome = parts.train(1, parts.vector())
    np.testing.assert_array_equal(vector, expected[0])
    assert outcome.accuracy == pytest.approx(expected[1].accuracy)
