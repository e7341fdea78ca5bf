"""mnist-cnn and fashion-mnist-cnn: images of 28 x 28 pixels, from four IDX files; 94,186 parameters."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from peerd.dataset import find_files
from peerd.errors import InvalidInputError
from peerd.training.idx import read_idx
from peerd.training.task import Samples
from peerd.training.torchtask import Pixels, TorchTask

SIDE = 28
CLASSES = 10


def build(channels: int = 1) -> nn.Module:
    return nn.Sequential(
        *_block(channels, 32, stride=1),
        *_block(32, 64, stride=2),
        *_block(64, 128, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


def _block(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


def make(data_dir: str) -> TorchTask:
    """A CNN on handwritten digits (28 x 28 pixels), from the four MNIST IDX files in --data-dir."""
    return _task("mnist-cnn", data_dir, Pixels((0.1307 * 255,), (0.3081 * 255,)))


def make_fashion(data_dir: str) -> TorchTask:
    """The same CNN on pictures of clothes (28 x 28 pixels), from the four Fashion-MNIST IDX files."""
    return _task("fashion-mnist-cnn", data_dir, Pixels((0.2860 * 255,), (0.3530 * 255,)))


def _task(name: str, data_dir: str, scale: Pixels) -> TorchTask:
    return TorchTask(model=build, data=lambda: load(name, data_dir), classes=CLASSES, prepare=scale)


def load(name: str, data_dir: str) -> tuple[Samples, Samples]:
    """Features of shape (n, 1, 28, 28), uint8."""
    train_images, train_labels, test_images, test_labels = find_files(name, data_dir)
    return _read(train_images, train_labels), _read(test_images, test_labels)


def _read(images_path: Path, labels_path: Path) -> Samples:
    images = read_idx(images_path, dims=3)
    if images.shape[1:] != (SIDE, SIDE):
        raise InvalidInputError(f"{images_path}: images must have {SIDE} x {SIDE} pixels")
    return Samples(images[:, None], read_idx(labels_path, dims=1))
