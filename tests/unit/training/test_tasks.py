from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from peerd.dataset import MNIST_FILES
from peerd.errors import InvalidInputError, NotFoundError
from peerd.training.tasks import TASKS, Samples


def test_digits_are_scikit_learns_own() -> None:
    from sklearn.datasets import load_digits

    train, test = TASKS["digits-cnn"].load("")
    assert (len(train), len(test)) == (1_437, 360)
    ours = np.concatenate([train.images.numpy(), test.images.numpy()]).reshape(-1, 64)
    labels = np.concatenate([train.labels.numpy(), test.labels.numpy()])
    theirs = load_digits()
    order, reference = np.lexsort(ours.T), np.lexsort(theirs.data.T)
    np.testing.assert_array_equal(ours[order], theirs.data[reference])
    assert np.bincount(labels).tolist() == np.bincount(theirs.target).tolist()


def test_digits_are_always_split_in_the_same_way() -> None:
    first, again = (TASKS["digits-cnn"].load("")[1] for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    with pytest.raises(NotFoundError, match="pip install"):
        TASKS["digits-cnn"].load("")


def test_mnist_from_a_folder(mnist_dir: Path) -> None:
    train, test = TASKS["mnist-cnn"].load(str(mnist_dir))
    assert (len(train), len(test)) == (60, 20)
    assert train.images.shape == (60, 1, 28, 28)
    assert train.labels[:3].tolist() == [0, 1, 2]


def test_mnist_without_its_folder() -> None:
    with pytest.raises(NotFoundError, match="no such data folder"):
        TASKS["mnist-cnn"].load("/nowhere/at/all")


def test_a_broken_mnist_file_is_named(mnist_dir: Path, tmp_path: Path) -> None:
    for path in mnist_dir.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / MNIST_FILES[2]).write_bytes(b"<html>")
    with pytest.raises(InvalidInputError, match=MNIST_FILES[2]):
        TASKS["mnist-cnn"].load(str(tmp_path))


def check(images: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples.checked(images, labels, side=4, classes=10, where="here")


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((2, 4, 5), np.uint8), np.zeros(2, np.uint8), "4 x 4 pixels"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(3, np.uint8), "2 images but 3 labels"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, np.uint8), "0 images"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, 10], np.uint8), "label 10"),
    ],
)
def test_data_that_do_not_fit(images: np.ndarray, labels: np.ndarray, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"here: .*{reason}"):
        check(images, labels)


def test_taken_samples_are_a_copy() -> None:
    samples = check(np.zeros((3, 4, 4), np.uint8), np.array([1, 2, 3], np.uint8))
    some = samples.take(np.array([2, 0]))
    assert some.labels.tolist() == [3, 1]
    some.images.fill_(9)
    assert not samples.images.any()


@pytest.mark.parametrize("name", TASKS)
def test_scaling_centres_the_pixels(name: str, mnist_dir: Path) -> None:
    """Exactly so for digits, whose pixels are here; for MNIST 0 and 255 go where published figures say."""
    task = TASKS[name]
    if name == "digits-cnn":
        scaled = task.scale(task.load("")[0].images)
        assert abs(scaled.mean().item()) < 0.01
        assert abs(scaled.std().item() - 1) < 0.01
    else:
        ends = task.scale(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)).flatten()
        torch.testing.assert_close(ends, torch.tensor([-0.4242, 2.8215]), atol=1e-3, rtol=0.0)


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_of_one_can_be_trained_on(name: str) -> None:
    """The last normalisation still has several pixels to normalise over."""
    side = {"digits-cnn": 8, "mnist-cnn": 28}[name]
    module = TASKS[name].build()
    assert module(torch.rand(1, 1, side, side)).shape == (1, 10)
